// Launch: queues a kernel on a lane. For .cu files only.
#pragma once

#include <cstdint>

#include "kernels/core/cuda_lane.h"
#include "kernels/core/gpu.h"
#ifdef __CUDACC__
#include <cuda_runtime_api.h>
#endif

namespace triforce {

struct LaunchShape {
  int64_t x = 1, y = 1, z = 1;  // blocks; below 2^31, 2^16, 2^16
  int threads = 32;             // of a block: whole warps
  int64_t shared_bytes = 0;
};

// Queues kKernel(args...). Of an empty grid nothing is queued. What the GPU refuses becomes the lane's error.
// REQUIRES: args are trivially copyable, at most 4 KiB together.
template <auto kKernel, typename... Args>
void Launch([[maybe_unused]] CudaLane& lane, const char* name, const LaunchShape& shape, const Args&... args) {
  if (shape.x == 0 || shape.y == 0 || shape.z == 0) return;
#ifdef __CUDACC__
  constexpr int64_t kAlwaysAllowed = 48 << 10;
  if (shape.shared_bytes > kAlwaysAllowed) {
    lane.Keep(cudaFuncSetAttribute(reinterpret_cast<const void*>(kKernel), cudaFuncAttributeMaxDynamicSharedMemorySize,
                                   static_cast<int>(shape.shared_bytes)),
              name);
  }
  kKernel<<<dim3(static_cast<unsigned>(shape.x), static_cast<unsigned>(shape.y), static_cast<unsigned>(shape.z)),
            shape.threads, static_cast<size_t>(shape.shared_bytes), static_cast<cudaStream_t>(lane.stream())>>>(
      args...);
  lane.Keep(cudaGetLastError(), name);
#else
  gpu::RunGrid({shape.x, shape.y, shape.z}, shape.threads, shape.shared_bytes, name, [&] { kKernel(args...); });
#endif
}

}  // namespace triforce
