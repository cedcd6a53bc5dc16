// ChunkMeans: the mean key of each chunk (kKeyTile tokens of one kv_head), by which chunks are ranked and retrieved.
#pragma once

#include <cstdint>

#include "kernels/core/lane.h"
#include "kernels/core/tensor.h"
#include "kernels/ops/kv_view.h"

namespace triforce {

struct ChunkMeansArgs {
  KvView kv;           // keys with RoPE applied; begins at a block's first kv_head
  int64_t chunks = 0;  // whole ones, from the view's first storage position
  TensorView means;    // f16|bf16|f32 [kv_heads, chunks or more, head_dim], dense; written
};

// Queues means = sums in f32, in the order of tokens, divided by kKeyTile. REQUIRES: shapes as said; kv holds so many
// chunks of all kv_heads.
void ChunkMeans(Lane& lane, const ChunkMeansArgs& args);

// The same, plainly, in double, on the calling thread. For tests.
void ChunkMeansReference(const ChunkMeansArgs& args);

}  // namespace triforce
