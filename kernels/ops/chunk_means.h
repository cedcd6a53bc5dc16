// ChunkMeans: the mean key of each chunk (so many tokens of one kv_head), by which chunks are ranked and retrieved.
#pragma once

#include <cstdint>

#include "kernels/core/lane.h"
#include "kernels/core/tensor.h"
#include "kernels/ops/kv_view.h"

namespace triforce {

struct ChunkMeansArgs {
  KvView kv;  // keys with RoPE applied; begins at a block's first kv_head
  // Chunks [first, end), whole ones, counted from storage position 0.
  int64_t first = 0;
  int64_t end = 0;
  TensorView means;                 // f16|bf16|f32 [kv_heads, end or more, head_dim], dense; [:, first:end] is written
  int64_t chunk_tokens = kKeyTile;  // a multiple of it that divides kKvBlock
};

// Queues means = sums in f32, in the order of tokens, divided by their number. REQUIRES: shapes as said; kv holds those
// chunks of all kv_heads.
void ChunkMeans(Lane& lane, const ChunkMeansArgs& args);

// The same, plainly, in double, on the calling thread. For tests.
void ChunkMeansReference(const ChunkMeansArgs& args);

}  // namespace triforce
