// ChunkScores: how much a query wants each chunk: its product with the chunk's mean key.
#pragma once

#include <cstdint>

#include "kernels/core/lane.h"
#include "kernels/core/tensor.h"

namespace triforce {

struct ChunkScoresArgs {
  TensorView q;      // f32 [heads, head_dim], RoPE applied; dense
  TensorView means;  // f16|bf16|f32 [kv_heads, chunks or more, head_dim], dense
  int64_t chunks = 0;
  TensorView scores;  // f32 [kv_heads, chunks or more], dense; written
};

// Queues scores = q.mean, the largest over the query heads of the kv_head's group (DESIGN.md, "Offload"); sums in f32,
// in an order of their own that depends on head_dim alone. REQUIRES: shapes as said; heads % kv_heads == 0.
void ChunkScores(Lane& lane, const ChunkScoresArgs& args);

// The same, plainly, in double, on the calling thread. For tests.
void ChunkScoresReference(const ChunkScoresArgs& args);

}  // namespace triforce
