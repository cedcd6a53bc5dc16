#include "kernels/core/cuda_gpus.h"

#include <cuda_runtime_api.h>
#include <fmt/core.h>

#include <algorithm>
#include <string>

#include "kernels/core/cuda_architectures.h"
#include "kernels/core/cuda_error.h"
#include "kernels/core/error.h"
#include "kernels/core/nvml.h"

namespace triforce {
namespace {

std::string Version(int cuda) { return fmt::format("{}.{}", cuda / 1000, cuda % 1000 / 10); }

int DriverCuda() {
  int version = 0;
  return cudaDriverGetVersion(&version) == cudaSuccess ? version : 0;
}

int RuntimeCuda() {
  int version = 0;
  return cudaRuntimeGetVersion(&version) == cudaSuccess ? version : 0;
}

// Why cudaGetDeviceCount failed with `code`.
Error NoGpu(int code) {
  (void)cudaGetLastError();
  const int driver = DriverCuda(), runtime = RuntimeCuda();
  const std::string reason = "cudaGetDeviceCount: " + CudaErrorText(code);
  if (driver == 0) {
    return Error(
        ErrorKind::kUnsupported, "CUDA",
        fmt::format("no NVIDIA driver was found; CUDA {} needs one ({})", Version(runtime), reason),
        "Install it, until nvidia-smi lists the GPU. A container has to be given the GPU (docker: --gpus all).");
  }
  if (code == cudaErrorInsufficientDriver) {
    return Error(ErrorKind::kUnsupported, "CUDA",
                 fmt::format("the NVIDIA driver serves CUDA {} at most, this program is built with {} ({})",
                             Version(driver), Version(runtime), reason),
                 "Update the driver, or build with an older CUDA toolkit (CUDA_HOME).");
  }
  return Error(ErrorKind::kUnsupported, "CUDA",
               fmt::format("no usable GPU was found; the driver serves CUDA {}, this program is built with {} ({})",
                           Version(driver), Version(runtime), reason),
               "nvidia-smi lists the GPUs that there are; CUDA_VISIBLE_DEVICES may hide them.");
}

int CountGpus() {
  int count = 0;
  const cudaError_t code = cudaGetDeviceCount(&count);
  if (code != cudaSuccess || count == 0) throw NoGpu(code == cudaSuccess ? cudaErrorNoDevice : code);
  return count;
}

GpuFacts Describe(int ordinal) {
  GpuFacts facts{.device = fmt::format("cuda:{}", ordinal), .driver_cuda = DriverCuda(), .runtime_cuda = RuntimeCuda()};
  cudaDeviceProp properties{};
  CheckCuda(cudaGetDeviceProperties(&properties, ordinal), facts.device, "cudaGetDeviceProperties");
  facts.name = properties.name;
  facts.compute_major = properties.major;
  facts.compute_minor = properties.minor;
  facts.multiprocessors = properties.multiProcessorCount;
  facts.total_bytes = static_cast<int64_t>(properties.totalGlobalMem);
  return facts;
}

// What only the driver knows.
void AddDriverFacts(int ordinal, GpuFacts& facts) {
  char bus_id[32] = {};
  CheckCuda(cudaDeviceGetPCIBusId(bus_id, sizeof(bus_id), ordinal), facts.device, "cudaDeviceGetPCIBusId");
  const NvmlFacts nvml = QueryNvml(bus_id);
  facts.driver = nvml.driver;
  facts.link_now = nvml.link_now;
  facts.link_most = nvml.link_most;
  // CUDA itself tells it only once it has made a context, which takes some 100 MB.
  facts.free_bytes = nvml.memory ? nvml.memory->free_bytes : FreeCudaBytes(ordinal);
}

// Within a major version, code runs on the minor version that it was compiled for and on later ones.
bool HasKernelsFor(const GpuFacts& gpu) {
  return std::ranges::any_of(CompiledArchitectures(), [&](int architecture) {
    return architecture / 100 == gpu.compute_major && architecture / 10 % 10 <= gpu.compute_minor;
  });
}

void RequireOrdinal(int ordinal) {
  const int count = CountGpus();
  if (ordinal < count) return;
  throw Error(
      ErrorKind::kUnsupported, fmt::format("cuda:{}", ordinal),
      fmt::format("there is no such GPU; there {}, from cuda:0 on", count == 1 ? "is 1" : fmt::format("are {}", count)),
      "CUDA_VISIBLE_DEVICES may hide others.");
}

}  // namespace

std::vector<GpuFacts> FindCudaGpus() {
  std::vector<GpuFacts> gpus;
  const int count = CountGpus();
  for (int ordinal = 0; ordinal < count; ++ordinal) AddDriverFacts(ordinal, gpus.emplace_back(Describe(ordinal)));
  return gpus;
}

GpuFacts RequireCudaGpu(int ordinal) {
  RequireOrdinal(ordinal);
  const GpuFacts gpu = Describe(ordinal);
  if (!HasKernelsFor(gpu)) {
    std::string compiled;
    for (const int architecture : CompiledArchitectures()) {
      compiled += fmt::format("{}{}.{}", compiled.empty() ? "" : ", ", architecture / 100, architecture / 10 % 10);
    }
    throw Error(ErrorKind::kUnsupported, gpu.device,
                fmt::format("{} has compute capability {}.{}; the kernels of this build are for {}", gpu.name,
                            gpu.compute_major, gpu.compute_minor, compiled),
                "Add its architecture in third_party/cuda/cuda_library.bzl and build again. CUDA_VISIBLE_DEVICES "
                "chooses among GPUs.");
  }
  CheckCuda(cudaSetDevice(ordinal), gpu.device, "cudaSetDevice");
  return gpu;
}

int64_t FreeCudaBytes(int ordinal) {
  RequireOrdinal(ordinal);
  const std::string device = fmt::format("cuda:{}", ordinal);
  size_t free = 0, total = 0;
  CheckCuda(cudaSetDevice(ordinal), device, "cudaSetDevice");
  CheckCuda(cudaMemGetInfo(&free, &total), device, "cudaMemGetInfo");
  return static_cast<int64_t>(free);
}

}  // namespace triforce
