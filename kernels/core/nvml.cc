#include "kernels/core/nvml.h"

#include <dlfcn.h>

#include <memory>

namespace triforce {
namespace {

using NvmlDevice = void*;  // nvmlDevice_t, which is opaque
constexpr int kSuccess = 0;

struct MemoryInfo {                                  // nvmlMemory_t
  unsigned long long total = 0, free = 0, used = 0;  // NOLINT(google-runtime-int): NVML's own types
};

class Library {
 public:
  Library() : handle_(::dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL)) {
    ready_ = handle_ != nullptr && Call("nvmlInit_v2");
  }
  ~Library() {
    if (ready_) Call("nvmlShutdown");
    if (handle_ != nullptr) ::dlclose(handle_);
  }
  Library(const Library&) = delete;
  Library& operator=(const Library&) = delete;

  bool ready() const { return ready_; }

  // Calls a function by its name: true where there is one and it succeeds.
  template <typename... Args>
  bool Call(const char* name, Args... args) const {
    const auto function = reinterpret_cast<int (*)(Args...)>(::dlsym(handle_, name));
    return function != nullptr && function(args...) == kSuccess;
  }

 private:
  void* const handle_;
  bool ready_ = false;
};

std::optional<PcieLink> Link(const Library& nvml, NvmlDevice device, const char* generation_of, const char* lanes_of) {
  unsigned generation = 0, lanes = 0;
  if (!nvml.Call(generation_of, device, &generation) || !nvml.Call(lanes_of, device, &lanes)) return std::nullopt;
  return PcieLink{.generation = static_cast<int>(generation), .lanes = static_cast<int>(lanes)};
}

}  // namespace

NvmlFacts QueryNvml(const std::string& pci_bus_id) {
  NvmlFacts facts;
  const Library nvml;
  if (!nvml.ready()) return facts;
  char version[96] = {};  // the manual asks for 80 or more
  if (nvml.Call("nvmlSystemGetDriverVersion", &version[0], static_cast<unsigned>(sizeof(version)))) {
    facts.driver = version;
  }
  NvmlDevice device = nullptr;
  if (!nvml.Call("nvmlDeviceGetHandleByPciBusId_v2", pci_bus_id.c_str(), &device)) return facts;
  MemoryInfo memory;
  if (nvml.Call("nvmlDeviceGetMemoryInfo", device, &memory)) {
    facts.memory = {static_cast<int64_t>(memory.total), static_cast<int64_t>(memory.free)};
  }
  facts.link_now = Link(nvml, device, "nvmlDeviceGetCurrPcieLinkGeneration", "nvmlDeviceGetCurrPcieLinkWidth");
  facts.link_most = Link(nvml, device, "nvmlDeviceGetMaxPcieLinkGeneration", "nvmlDeviceGetMaxPcieLinkWidth");
  return facts;
}

}  // namespace triforce
