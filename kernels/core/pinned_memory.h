// CudaHostPin: memory of the host that all GPUs copy from and to by DMA, at full speed and without the host waiting, as
// long as it lives. Its addresses are valid on the GPU too, except under WSL2.
//
// Does not own the memory, which outlives it. It is registered in one piece: copies across the border of two would be
// the driver's choice to refuse.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "kernels/core/device.h"

namespace triforce {

class CudaHostPin final : public HostPin {
 public:
  // `where`: the device, for errors. Throws Error (kOutOfMemory) with what was asked for, what could be had and what
  // this process has pinned already, where the driver refuses. REQUIRES: nothing of it is pinned; it is not empty.
  CudaHostPin(const std::string& where, std::span<std::byte> memory);
  ~CudaHostPin() override;
  CudaHostPin(const CudaHostPin&) = delete;
  CudaHostPin& operator=(const CudaHostPin&) = delete;

 private:
  const std::span<std::byte> memory_;
};

}  // namespace triforce
