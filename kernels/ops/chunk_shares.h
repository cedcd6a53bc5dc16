// ChunkShares: which part of the attention of some queries each chunk would get, were all its keys its mean key.
#pragma once

#include <cstdint>

#include "kernels/core/lane.h"
#include "kernels/core/team.h"
#include "kernels/core/tensor.h"

namespace triforce {

struct ChunkSharesArgs {
  TensorView q;      // f32 [rows, heads, head_dim], RoPE applied; a row dense
  TensorView means;  // f16|bf16|f32 [kv_heads, chunks or more, head_dim], dense
  int64_t chunks = 0;
  float scale = 1.0f;  // of q.mean, before the softmax
  TensorView shares;   // f32 [kv_heads, chunks or more], dense; written
};

// Most chunks on the CPU: each has kChunkSharesQueries logits at a time in a thread's scratch memory, behind what else
// it holds.
inline constexpr int64_t kChunkSharesQueries = 8;
inline constexpr int64_t kChunkSharesScratchBytes = 32 << 10;
inline constexpr int64_t kMaxChunksToShare =
    (Team::kScratchBytes - kChunkSharesScratchBytes) / (kChunkSharesQueries * static_cast<int64_t>(sizeof(float)));

// Queues shares[g][c] = the sum over rows and over the query heads of kv_head g of the softmax over chunks of scale *
// q.mean. Sums in f32, in an order that depends on the shapes alone. REQUIRES: shapes as said; heads % kv_heads == 0;
// head_dim at most 256; on the CPU, chunks <= kMaxChunksToShare.
void ChunkShares(Lane& lane, const ChunkSharesArgs& args);

// The same, plainly, in double, on the calling thread. For tests.
void ChunkSharesReference(const ChunkSharesArgs& args);

}  // namespace triforce
