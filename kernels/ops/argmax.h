// Argmax: the place of each row's largest value, and the value.
#pragma once

#include "kernels/core/lane.h"
#include "kernels/core/tensor.h"

namespace triforce {

struct ArgmaxArgs {
  TensorView values;        // f32 [rows, n], rows dense, n >= 1
  TensorView out;           // i32 [rows], dense; written
  TensorView largest = {};  // f32 [rows], dense; written, if it is there
};

// Queues out[r] = the lowest i with the largest values[r][i], and largest[r] = values[r][out[r]]. NaN is never the
// largest; a row of nothing else gives 0.
void Argmax(Lane& lane, const ArgmaxArgs& args);

// The same, plainly, on the calling thread. For tests.
void ArgmaxReference(const ArgmaxArgs& args);

}  // namespace triforce
