// What tests that run on any device share: which one, and how the host reads what is there.
#pragma once

#include <string>
#include <vector>

#include "kernels/core/lane.h"
#include "kernels/core/small_tests.h"  // tests of models ask for it, too
#include "kernels/core/tensor.h"

namespace triforce {

// "cpu", or what the environment's TRIFORCE_TEST_DEVICE says: "cuda:0", which is the simulator in a test that is linked
// with it.
std::string TestDevice();

// On CUDA, passes of more than 64 rows are a class of results of their own, for each number of rows (DESIGN.md, rule
// 2); on the CPU all are one.
inline bool OneClass() { return TestDevice() == "cpu"; }

// Waits for the lane and gives a dense f32 tensor of its device.
std::vector<float> ReadFloats(Lane& lane, const TensorView& tensor);

}  // namespace triforce
