// Launch: queues a kernel on a lane. For .cu files only.
#pragma once

#ifdef __CUDACC__
#include <array>
#include <atomic>
#endif
#include <cstdint>

#include "kernels/core/cuda_lane.h"
#include "kernels/core/gpu.h"
#ifdef __CUDACC__
#include <cuda_runtime.h>
#endif

namespace triforce {

struct LaunchShape {
  int64_t x = 1, y = 1, z = 1;  // blocks; below 2^31, 2^16, 2^16
  int threads = 32;             // of a block: whole warps
  int64_t shared_bytes = 0;
  // It calls gpu::AwaitPrevious before it touches anything that work before it may write or read. What it does until
  // then may begin while the kernel before it ends (programmatic dependent launch, from sm_90 on).
  bool starts_early = false;
};

#ifdef __CUDACC__
// Whether the current GPU knows programmatic dependent launch.
inline bool StartsEarly() {
  int device = 0, major = 0;
  return cudaGetDevice(&device) == cudaSuccess &&
         cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device) == cudaSuccess && major >= 9;
}

// Lets blocks of kKernel have as much shared memory as the current GPU has for one: asked for once for each GPU, and
// not at each launch, which that would slow down. Thread-safe. Returns a cudaError_t.
template <auto kKernel>
int AllowSharedMemory() {
  constexpr int kMostGpus = 64;
  static std::array<std::atomic<bool>, kMostGpus> allowed{};
  const auto kernel = reinterpret_cast<const void*>(kKernel);
  int device = 0, most = 0;
  cudaError_t code = cudaGetDevice(&device);
  if (code == cudaSuccess && device < kMostGpus && allowed[device].load(std::memory_order_relaxed)) return code;
  cudaFuncAttributes attributes{};
  if (code == cudaSuccess) code = cudaFuncGetAttributes(&attributes, kernel);
  if (code == cudaSuccess) code = cudaDeviceGetAttribute(&most, cudaDevAttrMaxSharedMemoryPerBlockOptin, device);
  if (code == cudaSuccess) {
    code = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                most - static_cast<int>(attributes.sharedSizeBytes));
  }
  if (code == cudaSuccess && device < kMostGpus) allowed[device].store(true, std::memory_order_relaxed);
  return code;
}
#endif

// Queues kKernel(args...). Of an empty grid nothing is queued. What the GPU refuses becomes the lane's error.
// REQUIRES: args are trivially copyable, at most 4 KiB together.
template <auto kKernel, typename... Args>
void Launch([[maybe_unused]] CudaLane& lane, const char* name, const LaunchShape& shape, const Args&... args) {
  if (shape.x == 0 || shape.y == 0 || shape.z == 0) return;
#ifdef __CUDACC__
  constexpr int64_t kAlwaysAllowed = 48 << 10;
  cudaLaunchConfig_t config{};
  config.stream = static_cast<cudaStream_t>(lane.stream());  // makes the lane's device the current one
  if (shape.shared_bytes > kAlwaysAllowed) lane.Keep(AllowSharedMemory<kKernel>(), name);
  config.gridDim = dim3(static_cast<unsigned>(shape.x), static_cast<unsigned>(shape.y), static_cast<unsigned>(shape.z));
  config.blockDim = dim3(static_cast<unsigned>(shape.threads));
  config.dynamicSmemBytes = static_cast<size_t>(shape.shared_bytes);
  cudaLaunchAttribute early{};
  early.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  early.val.programmaticStreamSerializationAllowed = 1;
  config.attrs = &early;
  config.numAttrs = shape.starts_early && StartsEarly() ? 1 : 0;
  lane.BeginSpan();
  lane.Keep(cudaLaunchKernelEx(&config, kKernel, args...), name);
#else
  lane.BeginSpan();
  lane.Simulate([=] {
    gpu::RunGrid({shape.x, shape.y, shape.z}, shape.threads, shape.shared_bytes, name, [&] { kKernel(args...); });
  });
#endif
  lane.EndSpan(name);
}

// Blocks of kKernel that one multiprocessor holds at once; 0 where a block's shared memory is more than it has. The
// simulator has an H100's shared memory.
template <auto kKernel>
int BlocksPerMultiprocessor([[maybe_unused]] int threads, int64_t shared_bytes) {
#ifdef __CUDACC__
  int blocks = 0;
  if (AllowSharedMemory<kKernel>() != cudaSuccess ||
      cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, reinterpret_cast<const void*>(kKernel), threads,
                                                    static_cast<size_t>(shared_bytes)) != cudaSuccess) {
    cudaGetLastError();  // it is no lane's error
    return 0;
  }
  return blocks;
#else
  constexpr int64_t kShared = 228 << 10, kReserved = 1 << 10;  // of a multiprocessor; of each block
  return static_cast<int>(kShared / (shared_bytes + kReserved));
#endif
}

}  // namespace triforce
