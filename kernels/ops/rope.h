// RoPE: rotary position embedding (Su et al., arXiv 2104.09864) in Hugging Face's convention: element i turns together
// with element i + head_dim / 2.
//
// The angles of a pass are computed once, by RopeTable, and serve all its layers.
#pragma once

#include "kernels/core/lane.h"
#include "kernels/core/tensor.h"

namespace triforce {

struct RopeTableArgs {
  TensorView positions;          // i32 [rows], dense
  TensorView inverse_frequency;  // f32 [head_dim / 2]
  float scaling = 1.0f;          // multiplies cos and sin (YaRN's attention scaling)
  TensorView cos;                // f32 [rows, head_dim / 2], dense; written
  TensorView sin;                // f32 [rows, head_dim / 2], dense; written
  TensorView base = {};          // i64 [1] on the device, added to all positions
};

// Queues cos and sin of position * inverse_frequency. The product is rounded to f32, as transformers does: at position
// 100,000 that rounding shifts an angle by up to 0.004, so another rounding would be another model.
void RopeTable(Lane& lane, const RopeTableArgs& args);

struct RopeArgs {
  TensorView x;    // f32 [rows, heads, head_dim], a row dense; turned in place
  TensorView cos;  // f32 [rows, head_dim / 2], dense
  TensorView sin;  // f32 [rows, head_dim / 2], dense
};

// Queues, with h = head_dim / 2: x[i] = x[i] cos[i] - x[i + h] sin[i], x[i + h] = x[i + h] cos[i] + x[i] sin[i].
// REQUIRES: shapes and dtypes as said.
void Rope(Lane& lane, const RopeArgs& args);

// The same, plainly, on the calling thread. For tests.
void RopeTableReference(const RopeTableArgs& args);
void RopeReference(const RopeArgs& args);

}  // namespace triforce
