// KvAppend: writes a pass' keys and values into the KV, rounded to its type.
#pragma once

#include "kernels/core/lane.h"
#include "kernels/core/tensor.h"
#include "kernels/ops/kv_view.h"

namespace triforce {

struct KvAppendArgs {
  TensorView keys;       // f32 [rows, kv_heads, head_dim], RoPE applied; a row dense
  TensorView values;     // f32 [rows, kv_heads, head_dim], a row dense
  int64_t position = 0;  // storage position of row 0; the others follow
  KvView kv;             // written at [position, position + rows)
  TensorView base = {};  // i64 [1] on the device, added to `position`
};

// Queues the writing. Values beyond the type's range become infinite. REQUIRES: shapes as said; kv reaches all
// positions that are written; where `base` leads elsewhere, that is a CHECK on the lane.
void KvAppend(Lane& lane, const KvAppendArgs& args);

// The same, plainly, on the calling thread. For tests.
void KvAppendReference(const KvAppendArgs& args);

}  // namespace triforce
