// What open_device.h opens as "cuda:N" in tests that are linked with this: the simulator.
#include <memory>
#include <vector>

#include "kernels/core/gpu_facts.h"
#include "kernels/core/sim_device.h"

namespace triforce {

class Trace;

std::unique_ptr<Device> OpenCudaDevice(int, int64_t limit_bytes, Trace*) {
  return std::make_unique<SimDevice>(limit_bytes);
}

int64_t FreeCudaBytes(int) { return int64_t{4} << 30; }

std::vector<GpuFacts> FindCudaGpus() { return {}; }

}  // namespace triforce
