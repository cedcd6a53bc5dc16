// Devices by name: "cpu", "cuda" (the first GPU), "cuda:1".
//
// CUDA is there in programs that are linked with //kernels/core:cuda_device, and missing in all others: its functions
// are weak symbols here. All functions are thread-safe.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "kernels/core/device.h"
#include "kernels/core/gpu_facts.h"

namespace triforce {

// The same device's one name: "cuda" is "cuda:0". Nothing where `name` is none of the above; whether there is such a
// device is another question.
std::optional<std::string> DeviceName(const std::string& name);

// Throws Error: kUsage where `name` is none of the above; kUnsupported, saying what is missing, where this build or
// this machine has no such device, or the driver or the GPU does not suit this build. `trace` may be null; it must
// outlive the device's lanes.
std::unique_ptr<Device> OpenDevice(const std::string& name, int64_t memory_limit_bytes, Trace* trace = nullptr);

// What new allocations on the device can have: available memory of the machine, or free memory of the GPU, of which
// what CUDA itself needs there has been taken already. Throws as OpenDevice does.
int64_t AvailableDeviceBytes(const std::string& name);

// All GPUs, usable or not. Throws Error (kUnsupported), saying why, where there is none.
std::vector<GpuFacts> FindGpus();

}  // namespace triforce
