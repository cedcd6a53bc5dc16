// The simulator as the CUDA device of op tests.
#include "kernels/core/sim_device.h"
#include "kernels/ops/op_testing.h"

namespace triforce {

std::unique_ptr<Device> NewCudaTestDevice() { return std::make_unique<SimDevice>(int64_t{4} << 30); }

}  // namespace triforce
