// ChunkRanking: the order of chunks by score, as one complete permutation.
#pragma once

#include <cstdint>

#include "kernels/core/lane.h"
#include "kernels/core/tensor.h"

namespace triforce {

struct ChunkRankingArgs {
  TensorView scores;   // f32 [kv_heads, chunks or more], dense
  int64_t chunks = 0;  // that are ranked
  TensorView order;    // i32 [kv_heads, chunks or more], dense; written whole
};

// Queues order[h][0 .. chunks) = the chunks of kv_head h from the highest score to the lowest, ties by the lowest
// chunk, NaN last; and order[h][c] = c behind them. REQUIRES: shapes as said.
void ChunkRanking(Lane& lane, const ChunkRankingArgs& args);

}  // namespace triforce
