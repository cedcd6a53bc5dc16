// ChunkMass: how much of a query's attention falls on each chunk: what heavy hitters are found by (H2O, Zhang et al.,
// arXiv 2306.14048), and what a perfect choice of chunks would go by.
#pragma once

#include <cstdint>

#include "kernels/core/lane.h"
#include "kernels/core/tensor.h"
#include "kernels/ops/kv_view.h"

namespace triforce {

struct ChunkMassArgs {
  TensorView q;                     // f32 [heads, head_dim], RoPE applied; dense
  KvView kv;                        // any run of entries
  int64_t visible = 0;              // keys that are seen, counted from storage position 0 of the layer's KV
  float scale = 1.0f;               // of q.k
  int64_t chunk_tokens = kKeyTile;  // a multiple of it that divides kKvBlock
  TensorView log_masses;  // f32 [heads, chunks of all entries' blocks or more], dense; those of kv are written
};

// Queues log_masses[h][c] = log of the sum of exp(scale * q[h].k) over the keys of chunk c (counted from storage
// position 0) that are seen, for each entry of kv and the query heads of its kv_head; -infinity where none is seen.
// REQUIRES: shapes as said; heads % kv_heads == 0.
void ChunkMass(Lane& lane, const ChunkMassArgs& args);

// The same, plainly, in double, on the calling thread. For tests.
void ChunkMassReference(const ChunkMassArgs& args);

struct AddChunkMassArgs {
  TensorView log_masses;  // f32 [heads, chunks or more], dense
  int64_t chunks = 0;
  TensorView sums;  // f32 [kv_heads, chunks or more], dense; added to
};

// Queues sums[g][c] += the sum over the query heads h of kv_head g of exp(log_masses[h][c]), divided by that of all
// chunks of h: the shares of the attention that chunk c gets. REQUIRES: shapes as said; a chunk of each head that is
// seen.
void AddChunkMass(Lane& lane, const AddChunkMassArgs& args);

}  // namespace triforce
