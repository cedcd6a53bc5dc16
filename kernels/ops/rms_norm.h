// RmsNorm: root mean square normalisation of rows (Zhang and Sennrich, arXiv 1910.07467), as Llama has it.
#pragma once

#include "kernels/core/lane.h"
#include "kernels/core/tensor.h"

namespace triforce {

struct RmsNormArgs {
  TensorView x;       // f32 [rows, hidden], rows dense
  TensorView weight;  // f32 [hidden]
  float epsilon = 1e-5f;
  TensorView residual;  // f32 [rows, hidden], optional: x + residual is what is normed
  TensorView sum;       // f32 [rows, hidden]: where x + residual goes, if there is a residual; may be x itself
  TensorView out;       // f32 [rows, hidden]; written; may be x, if there is no residual
};

// Queues out = weight * x / sqrt(mean(x^2) + epsilon), by row. REQUIRES: shapes and dtypes as said.
void RmsNorm(Lane& lane, const RmsNormArgs& args);

// The same, plainly, in double, on the calling thread. For tests.
void RmsNormReference(const RmsNormArgs& args);

}  // namespace triforce
