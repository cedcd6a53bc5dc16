#include "kernels/core/cuda_device.h"

#include <cuda_runtime_api.h>
#include <fmt/core.h>

#include "kernels/core/check.h"
#include "kernels/core/cuda_error.h"
#include "kernels/core/cuda_gpus.h"
#include "kernels/core/cuda_stream_lane.h"
#include "kernels/core/pinned_memory.h"

namespace triforce {

// What open_device.cc looks for.
std::unique_ptr<Device> OpenCudaDevice(int ordinal, int64_t limit_bytes, Trace* trace) {
  return std::make_unique<CudaDevice>(ordinal, limit_bytes, trace);
}

CudaDevice::CudaDevice(int ordinal, int64_t memory_limit_bytes, Trace* trace)
    : ordinal_(ordinal),
      memory_(memory_limit_bytes),
      facts_(RequireCudaGpu(ordinal)),
      zeroing_(facts_.device, /*high_priority=*/false),
      trace_(trace) {
  int same = 0;
  CheckCuda(cudaDeviceGetAttribute(&same, cudaDevAttrCanUseHostPointerForRegisteredMem, ordinal), facts_.device,
            "cudaDeviceGetAttribute");
  uses_host_addresses_ = same != 0;
  if (trace != nullptr) clock_ = std::make_unique<CudaSpanClock>(facts_.device);
}

std::unique_ptr<CudaSpans> CudaDevice::NewSpans(const std::string& lane, cudaStream_t stream) {
  return trace_ == nullptr ? nullptr : std::make_unique<CudaSpans>(*trace_, *clock_, lane, stream);
}

void CudaDevice::MakeCurrent() const {
  if (cudaSetDevice(ordinal_) != cudaSuccess) (void)cudaGetLastError();  // the next call fails for the same reason
}

std::string CudaDevice::FreeText() const {
  MakeCurrent();
  size_t free = 0, total = 0;
  if (cudaMemGetInfo(&free, &total) != cudaSuccess) (void)cudaGetLastError();
  return fmt::format("{}, of whose {} bytes {} are free", facts_.name, total, free);
}

Buffer CudaDevice::Allocate(int64_t bytes, const std::string& purpose) {
  TF_CHECK(bytes >= 0, "{} bytes for {}", bytes, purpose);
  if (bytes == 0) return Buffer();
  const std::string where = name() + ": device memory";
  const int64_t before = memory_.Reserve(bytes, where, purpose);
  MakeCurrent();
  void* data = nullptr;
  cudaError_t code = cudaMalloc(&data, static_cast<size_t>(bytes));
  if (code == cudaErrorMemoryAllocation) {
    (void)cudaGetLastError();
    memory_.Release(bytes);
    throw Error(ErrorKind::kOutOfMemory, where,
                fmt::format("{} needs {} bytes; {} of {} are available within the limit, but not on {}: other programs "
                            "use the rest",
                            purpose, bytes, memory_.limit_bytes() - before, memory_.limit_bytes(), FreeText()),
                "Lower --device-memory, or close what else uses the GPU (nvidia-smi lists it).");
  }
  if (code == cudaSuccess) code = cudaMemsetAsync(data, 0, static_cast<size_t>(bytes), zeroing_.get());
  if (code == cudaSuccess) code = cudaStreamSynchronize(zeroing_.get());
  if (code != cudaSuccess) {
    if (data != nullptr) (void)cudaFree(data);
    memory_.Release(bytes);
    throw CudaError(code, name(), fmt::format("cudaMalloc of {} bytes for {}", bytes, purpose));
  }
  memory_.Allocated(before, bytes);
  return Buffer(this, data, bytes);
}

void CudaDevice::Free(void* data, int64_t bytes) {
  MakeCurrent();
  if (cudaFree(data) != cudaSuccess) (void)cudaGetLastError();  // of a GPU that has failed
  memory_.Release(bytes);
}

std::unique_ptr<Lane> CudaDevice::NewLane(const LaneOptions& options) {
  MakeCurrent();
  return std::make_unique<CudaStreamLane>(*this, options);
}

std::unique_ptr<Event> CudaDevice::NewEvent() {
  MakeCurrent();
  return std::make_unique<CudaEvent>(name());
}

std::unique_ptr<HostPin> CudaDevice::Pin(std::span<std::byte> memory) {
  if (memory.empty()) return nullptr;
  MakeCurrent();
  return std::make_unique<CudaHostPin>(name(), memory);
}

}  // namespace triforce
