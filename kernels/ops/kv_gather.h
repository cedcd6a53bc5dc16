// KvGather: moves a KV from token order into storage order, chunk by chunk.
#pragma once

#include <cstdint>

#include "kernels/core/lane.h"
#include "kernels/core/tensor.h"
#include "kernels/ops/kv_view.h"

namespace triforce {

struct KvGatherArgs {
  KvView from;  // a layer's whole KV in token order: first_entry 0
  TensorView
      order;  // i32 [kv_heads, chunks or more], dense: storage chunk c of kv_head h is chunk order[h][c] of `from`
  int64_t chunks = 0;  // of each kv_head that there are, the last one incomplete or not
  KvView to;           // any run of entries of the same layer's KV in storage order; must not overlap `from`; written
  int64_t chunk_tokens = kKeyTile;  // a multiple of it that divides kKvBlock
};

// Queues the copying of all chunks that `to` covers; what lies behind the last chunk keeps its bytes. REQUIRES: shapes
// as said, order's values in [0, chunks), both views of one type, head_dim and number of kv_heads.
void KvGather(Lane& lane, const KvGatherArgs& args);

}  // namespace triforce
