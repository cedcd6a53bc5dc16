// ChunkSelect: which chunks a retrieval cache holds: those that have to be in it, and the highest-scored others.
#pragma once

#include <cstdint>

#include "kernels/core/lane.h"
#include "kernels/core/tensor.h"

namespace triforce {

struct ChunkSelectArgs {
  TensorView scores;   // f32 [kv_heads, chunks or more], dense
  int64_t chunks = 0;  // to choose from
  // Chunks [out_first, out_end) are never chosen: they lie where none can be fetched from.
  int64_t out_first = 0;
  int64_t out_end = 0;
  TensorView forced;    // i32 [kv_heads, any], dense: chosen whatever their score; repetitions count once
  TensorView selected;  // i32 [kv_heads, as many as are to be chosen], dense; written
};

// Queues selected[h] = the chosen chunks of kv_head h, ascending. Among equal scores the lowest chunk comes first, NaN
// last. What is forced and left out is left out. REQUIRES: shapes as said; no more are forced than are to be
// chosen; there are as many chunks to choose from.
void ChunkSelect(Lane& lane, const ChunkSelectArgs& args);

}  // namespace triforce
