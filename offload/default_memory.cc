#include "offload/default_memory.h"

#include <algorithm>

#include "kernels/core/open_device.h"
#include "kernels/core/system_memory.h"

namespace triforce {

int64_t DefaultShare(int64_t bytes) { return static_cast<int64_t>(0.9 * static_cast<double>(bytes)); }

void CompleteMemory(const std::string& device, PlanInput& input) {
  if (input.device_bytes == 0) input.device_bytes = DefaultShare(AvailableDeviceBytes(device));
  if (input.host_bytes != 0) return;
  const int64_t of_device = device == "cpu" ? input.device_bytes : 0;
  input.host_bytes = std::max<int64_t>(0, DefaultShare(AvailableMemoryBytes()) - of_device);
}

}  // namespace triforce
