// What NVIDIA's management library (NVML) says of a GPU. It comes with the driver and is opened at run time; where it
// is missing, everything here is empty.
//
// Source of the calls and their types: the NVML API Reference Manual, "Device Queries" and "System Queries".
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "kernels/core/gpu_facts.h"

namespace triforce {

struct NvmlMemory {
  int64_t total_bytes = 0;
  int64_t free_bytes = 0;
};

struct NvmlFacts {
  std::string driver;
  std::optional<NvmlMemory> memory;
  std::optional<PcieLink> link_now;
  std::optional<PcieLink> link_most;
};

// `pci_bus_id` as cudaDeviceGetPCIBusId gives it ("0000:65:00.0"): NVML counts GPUs in an order of its own.
NvmlFacts QueryNvml(const std::string& pci_bus_id);

}  // namespace triforce
