// Argmax: the place of each row's largest value.
#pragma once

#include "kernels/core/lane.h"
#include "kernels/core/tensor.h"

namespace triforce {

struct ArgmaxArgs {
  TensorView values;  // f32 [rows, n], rows dense, n >= 1
  TensorView out;     // i32 [rows], dense; written
};

// Queues out[r] = the lowest i with the largest values[r][i]. NaN is never the largest; a row of nothing else gives 0.
void Argmax(Lane& lane, const ArgmaxArgs& args);

// The same, plainly, on the calling thread. For tests.
void ArgmaxReference(const ArgmaxArgs& args);

}  // namespace triforce
