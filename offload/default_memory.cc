#include "offload/default_memory.h"

#include <algorithm>

#include "kernels/core/open_device.h"
#include "kernels/core/system_memory.h"

namespace triforce {
namespace {

int64_t ShareOf(int64_t bytes) { return static_cast<int64_t>(kDefaultShare * static_cast<double>(bytes)); }

}  // namespace

void CompleteMemory(const std::string& device, PlanInput& input) {
  if (input.device_bytes == 0) input.device_bytes = ShareOf(AvailableDeviceBytes(device));
  if (input.host_bytes != 0) return;
  const int64_t of_device = device == "cpu" ? input.device_bytes : 0;
  input.host_bytes = std::max<int64_t>(0, ShareOf(AvailableMemoryBytes()) - of_device);
}

}  // namespace triforce
