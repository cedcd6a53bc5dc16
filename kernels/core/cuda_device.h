// CudaDevice: a GPU as a device: its memory counted against a limit, its lanes streams (cuda_stream_lane.h).
//
// Programs open it by name (open_device.h). Memory is the driver's own (cudaMalloc), beside that of other programs, so
// a limit may promise more than there is. Host and GPU reach one another's memory by copies, which are fast from and to
// memory that is pinned (Pin).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "kernels/core/cuda_handles.h"
#include "kernels/core/cuda_spans.h"
#include "kernels/core/device.h"
#include "kernels/core/gpu_facts.h"
#include "kernels/core/memory_count.h"

namespace triforce {

class CudaDevice final : public Device {
 public:
  // GPU `ordinal`, as CUDA counts those of CUDA_VISIBLE_DEVICES. Its lanes leave spans in `trace`, if that is not null.
  // Throws Error (kUnsupported) as RequireCudaGpu does.
  CudaDevice(int ordinal, int64_t memory_limit_bytes, Trace* trace = nullptr);

  DeviceType type() const override { return DeviceType::kCuda; }
  std::string name() const override { return facts_.device; }
  bool host_reaches_memory() const override { return false; }
  Buffer Allocate(int64_t bytes, const std::string& purpose) override;
  int64_t memory_limit_bytes() const override { return memory_.limit_bytes(); }
  int64_t used_bytes() const override { return memory_.used_bytes(); }
  int64_t peak_bytes() const override { return memory_.peak_bytes(); }
  std::unique_ptr<Lane> NewLane(const LaneOptions& options) override;
  std::unique_ptr<Event> NewEvent() override;
  std::unique_ptr<HostPin> Pin(std::span<std::byte> memory) override;

  const GpuFacts& facts() const { return facts_; }  // RequireCudaGpu's
  // Whether pinned memory has the same addresses on the GPU.
  bool uses_host_addresses() const { return uses_host_addresses_; }
  // "NVIDIA H100, of whose 85045878784 bytes 1234 are free", now.
  std::string FreeText() const;
  // Of a lane with this stream, if there is a trace; else null.
  std::unique_ptr<CudaSpans> NewSpans(const std::string& lane, cudaStream_t stream);
  // For this thread: calls of the runtime are about this device.
  void MakeCurrent() const;

 private:
  void Free(void* data, int64_t bytes) override;

  const int ordinal_;
  MemoryCount memory_;
  const GpuFacts facts_;
  const CudaStream zeroing_;
  bool uses_host_addresses_ = false;
  Trace* const trace_;
  std::unique_ptr<CudaSpanClock> clock_;  // null where there is no trace
};

}  // namespace triforce
