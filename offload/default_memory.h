// How much memory a plan may take where nobody has said.
#pragma once

#include <cstdint>
#include <string>

#include "offload/plan.h"

namespace triforce {

// Of what there is to have, what a default takes: the rest is for the page cache and others.
int64_t DefaultShare(int64_t bytes);

// Completes device_bytes and host_bytes, where they are 0, from what `device` (open_device.h) and this machine have
// now. The CPU device and the host tier share the machine's memory. Throws as AvailableDeviceBytes does.
void CompleteMemory(const std::string& device, PlanInput& input);

}  // namespace triforce
