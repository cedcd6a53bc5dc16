#include "runtime/device_testing.h"

#include <cstdlib>

#include "kernels/core/check.h"

namespace triforce {

std::string TestDevice() {
  const char* const name = std::getenv("TRIFORCE_TEST_DEVICE");
  return name == nullptr ? "cpu" : name;
}

std::vector<float> ReadFloats(Lane& lane, const TensorView& tensor) {
  TF_CHECK(tensor.dense() && tensor.dtype() == DType::kF32);
  std::vector<float> values(tensor.elements());
  lane.Copy(values.data(), tensor.data(), tensor.bytes(), "read");
  lane.Synchronize();
  return values;
}

}  // namespace triforce
