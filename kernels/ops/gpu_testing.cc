// The first GPU as the CUDA device of op tests.
#include <cuda_runtime_api.h>
#include <fmt/core.h>

#include <cstring>

#include "kernels/core/cuda_device.h"
#include "kernels/core/cuda_error.h"
#include "kernels/ops/op_testing.h"

namespace triforce {
namespace {

// A GPU whose tensors lie in pinned memory of the host, at the same addresses for both, so that tests touch them. What
// lanes need for themselves is the GPU's own.
class HostMemoryGpu final : public Device {
 public:
  explicit HostMemoryGpu(int64_t memory_limit_bytes) : gpu_(/*ordinal=*/0, memory_limit_bytes) {}

  DeviceType type() const override { return gpu_.type(); }
  std::string name() const override { return gpu_.name(); }
  bool host_reaches_memory() const override { return true; }
  Buffer Allocate(int64_t bytes, const std::string& purpose) override {
    if (bytes == 0) return Buffer();
    gpu_.MakeCurrent();
    void* data = nullptr;
    const cudaError_t code =
        cudaHostAlloc(&data, static_cast<size_t>(bytes), cudaHostAllocPortable | cudaHostAllocMapped);
    if (code != cudaSuccess) {
      throw CudaError(code, name(), fmt::format("cudaHostAlloc of {} bytes for {}", bytes, purpose));
    }
    std::memset(data, 0, static_cast<size_t>(bytes));
    return Buffer(this, data, bytes);
  }
  int64_t memory_limit_bytes() const override { return gpu_.memory_limit_bytes(); }
  int64_t used_bytes() const override { return gpu_.used_bytes(); }
  int64_t peak_bytes() const override { return gpu_.peak_bytes(); }
  std::unique_ptr<Lane> NewLane(const LaneOptions& options) override { return gpu_.NewLane(options); }
  std::unique_ptr<Event> NewEvent() override { return gpu_.NewEvent(); }

 private:
  void Free(void* data, int64_t) override { (void)cudaFreeHost(data); }

  CudaDevice gpu_;
};

}  // namespace

std::unique_ptr<Device> NewCudaTestDevice() { return std::make_unique<HostMemoryGpu>(int64_t{4} << 30); }

}  // namespace triforce
