// ChunkPermute: chunk means from the order of the text into the order of ranks.
#pragma once

#include <cstdint>

#include "kernels/core/lane.h"
#include "kernels/core/tensor.h"

namespace triforce {

struct ChunkPermuteArgs {
  TensorView from;   // f32 [kv_heads, chunks or more, head_dim], dense
  TensorView order;  // i32 [kv_heads, chunks or more], dense: as ChunkRanking writes it
  int64_t chunks = 0;
  TensorView to;  // f16|bf16|f32 [kv_heads, chunks or more, head_dim], dense; [:, 0:chunks] is written
};

// Queues to[h][i] = from[h][order[h][i]], rounded to its type. REQUIRES: shapes as said; order's values in [0, chunks).
void ChunkPermute(Lane& lane, const ChunkPermuteArgs& args);

}  // namespace triforce
