// What open_device.h opens as "cuda:N" in tests that are linked with this: the simulator.
#include <memory>
#include <vector>

#include "kernels/core/gpu_facts.h"
#include "kernels/core/sim_device.h"

namespace triforce {

class Trace;

std::unique_ptr<Device> OpenCudaDevice(int, int64_t limit_bytes, Trace* trace) {
  return std::make_unique<SimDevice>(limit_bytes, trace);
}

int64_t FreeCudaBytes(int) { return int64_t{4} << 30; }

std::vector<GpuFacts> FindCudaGpus() {
  std::vector<GpuFacts> gpus(1);
  gpus[0].device = "cuda:0";
  gpus[0].name = "simulator";
  gpus[0].total_bytes = gpus[0].free_bytes = FreeCudaBytes(0);
  return gpus;
}

}  // namespace triforce
