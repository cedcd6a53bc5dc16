// Penalties: lowers the logits of tokens that have been seen.
#pragma once

#include "kernels/core/lane.h"
#include "kernels/core/tensor.h"

namespace triforce {

struct PenaltiesArgs {
  TensorView logits;         // f32 [vocab]; changed in place
  TensorView tokens;         // i32 [n], distinct, each in [0, vocab): those in prompt or output
  TensorView output_counts;  // i32 [n]: how often each is in the output
  float repetition = 1.0f;  // divides positive and multiplies negative logits of all n (transformers; arXiv 1909.05858)
  float frequency = 0.0f;   // subtracted, times the count in the output (OpenAI)
  float presence = 0.0f;    // subtracted, if in the output (OpenAI)
};

// Queues the penalties, repetition first. REQUIRES: shapes and dtypes as said; a token outside is a CHECK on the lane.
void Penalties(Lane& lane, const PenaltiesArgs& args);

}  // namespace triforce
