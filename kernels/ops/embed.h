// Embed: rows of the embedding table, by token.
#pragma once

#include "kernels/core/lane.h"
#include "kernels/core/tensor.h"

namespace triforce {

struct EmbedArgs {
  TensorView table;  // f16|bf16|f32 [vocab, hidden], dense
  TensorView ids;    // i32 [rows], each in [0, vocab)
  TensorView out;    // f32 [rows, hidden], rows dense; written
};

// Queues out[r] = table[ids[r]]. REQUIRES: shapes and dtypes as said; an id outside the table is a CHECK on the lane.
void Embed(Lane& lane, const EmbedArgs& args);

// The same, plainly, on the calling thread. For tests.
void EmbedReference(const EmbedArgs& args);

}  // namespace triforce
