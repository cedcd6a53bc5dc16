// CudaLane: what CUDA ops need of a lane besides its contract (lane.h).
//
// Two devices have such lanes: a GPU (cuda_device.h), whose lanes are streams, and the simulator (sim_device.h), which
// runs the same kernels on the host, block by block, for tests. Ops queue their kernels with Launch (gpu_launch.h) and
// do not know which one they have.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>

#include "kernels/core/device.h"
#include "kernels/core/lane.h"

namespace triforce {

class CudaLane : public Lane {
 public:
  // The cudaStream_t; null on the simulator.
  virtual void* stream() const = 0;
  virtual int multiprocessors() const = 0;

  // Device memory for what one op's kernels hand to one another: `bytes` of it, aligned to 256, with any content. The
  // next op on this lane gets the same. Made when it is first asked for, at the latest by Capture; throws Error
  // (kOutOfMemory). REQUIRES: bytes
  // <= kScratchBytes.
  static constexpr int64_t kScratchBytes = int64_t{64} << 20;
  virtual std::byte* Scratch(int64_t bytes) = 0;

  // Keeps the error of a launch or a library's call, if there is one, as the lane's: `code` is a cudaError_t, `name`
  // the kernel or call. Launch calls it.
  virtual void Keep(int code, const char* name) = 0;

  // Runs what a kernel is on the simulator, or keeps it, where work is being captured. Called there alone.
  virtual void Simulate(std::function<void()> kernel) { kernel(); }

  // Before and behind a kernel or a library's call, which is a span of the trace then, if there is one, and work is not
  // being captured. `name`: a literal. Launch calls them.
  virtual void BeginSpan() {}
  virtual void EndSpan(const char* /*name*/) {}
};

// `lane` as a CudaLane, or null where it is one of the CPU device.
inline CudaLane* AsCuda(Lane& lane) {
  return lane.device().type() == DeviceType::kCuda ? static_cast<CudaLane*>(&lane) : nullptr;
}

}  // namespace triforce
