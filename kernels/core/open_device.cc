#include "kernels/core/open_device.h"

#include <fmt/core.h>

#include <charconv>
#include <string_view>

#include "kernels/core/cpu_device.h"
#include "kernels/core/error.h"
#include "kernels/core/system_memory.h"

namespace triforce {

[[gnu::weak]] std::unique_ptr<Device> OpenCudaDevice(int ordinal, int64_t limit_bytes, Trace* trace);  // cuda_device.cc
[[gnu::weak]] int64_t FreeCudaBytes(int ordinal);                                                      // cuda_gpus.cc
[[gnu::weak]] std::vector<GpuFacts> FindCudaGpus();                                                    // cuda_gpus.cc

namespace {

constexpr int kCpu = -1;

// Which GPU `name` means, or kCpu; nothing where it is no name.
std::optional<int> FindOrdinal(const std::string& name) {
  constexpr std::string_view kCuda = "cuda:";
  if (name == "cpu") return kCpu;
  if (name == "cuda") return 0;
  if (!name.starts_with(kCuda)) return std::nullopt;
  int ordinal = 0;
  const char* const end = name.data() + name.size();
  const auto [rest, error] = std::from_chars(name.data() + kCuda.size(), end, ordinal);
  if (error != std::errc() || rest != end || ordinal < 0) return std::nullopt;
  return ordinal;
}

int OrdinalOf(const std::string& name) {
  const std::optional<int> ordinal = FindOrdinal(name);
  if (ordinal) return *ordinal;
  throw Error(ErrorKind::kUsage, "device", fmt::format("found \"{}\", expected cpu, cuda or cuda:N", name));
}

void RequireCuda() {
  if (OpenCudaDevice != nullptr && FreeCudaBytes != nullptr && FindCudaGpus != nullptr) return;
  throw Error(ErrorKind::kUnsupported, "device", "this build has no CUDA, only the CPU",
              "Build it where a CUDA toolkit is: /usr/local/cuda, or what CUDA_HOME names.");
}

}  // namespace

std::optional<std::string> DeviceName(const std::string& name) {
  const std::optional<int> ordinal = FindOrdinal(name);
  if (!ordinal) return std::nullopt;
  return *ordinal == kCpu ? "cpu" : fmt::format("cuda:{}", *ordinal);
}

std::unique_ptr<Device> OpenDevice(const std::string& name, int64_t memory_limit_bytes, Trace* trace) {
  const int ordinal = OrdinalOf(name);
  if (ordinal == kCpu) return std::make_unique<CpuDevice>(memory_limit_bytes, trace);
  RequireCuda();
  return OpenCudaDevice(ordinal, memory_limit_bytes, trace);
}

int64_t AvailableDeviceBytes(const std::string& name) {
  const int ordinal = OrdinalOf(name);
  if (ordinal == kCpu) return AvailableMemoryBytes();
  RequireCuda();
  return FreeCudaBytes(ordinal);
}

std::vector<GpuFacts> FindGpus() {
  RequireCuda();
  return FindCudaGpus();
}

}  // namespace triforce
