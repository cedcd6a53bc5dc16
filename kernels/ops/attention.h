// Attention over a KV: partials by block and their merge, for decoding; the whole at once, for prefill.
//
// Softmax does not care where its terms come from: each block of kKvBlock keys gives an unnormalised output with its
// own maximum and sum, and partials are merged by log-sum-exp (Milakov and Gimelshein, arXiv 1805.02867; Dao et al.,
// FlashAttention, arXiv 2205.14135). A KV that lies in several places gives its partials view by view, as they arrive,
// and the merge folds them into a state. GQA: query head h reads kv_head h / (heads / kv_heads).
#pragma once

#include <cstdint>

#include "kernels/core/lane.h"
#include "kernels/core/tensor.h"
#include "kernels/ops/kv_view.h"

namespace triforce {

struct AttentionArgs {
  TensorView q;         // f32 [rows, heads, head_dim], RoPE applied; a row dense
  KvView kv;            // AttentionPartial: scattered or not
  int64_t visible = 0;  // keys that row 0 sees, counted from storage position 0 of the layer's KV
  bool causal = false;  // row r sees visible + r keys instead of visible
  float scale = 1.0f;   // of q.k, before the softmax
  TensorView base = {};  // i64 [1] on the device, added to `visible`: of AttentionPartial alone

  int64_t rows() const { return q.dim(0); }
  int64_t heads() const { return q.dim(1); }
  int64_t group() const { return heads() / kv.kv_heads; }
  // Keys that row `row` sees.
  int64_t VisibleTo(int64_t row) const { return causal ? visible + row : visible; }
};

// What each entry of a KvView gives each row and query head of its kv_head. Where a row sees nothing of it: max
// -infinity, sum 0, output 0.
struct AttentionPartials {
  TensorView out;  // f32 [entries, rows, group, head_dim]: sum over keys of exp(score - max) * value
  TensorView max;  // f32 [entries, rows, group]: the largest score
  TensorView sum;  // f32 [entries, rows, group]: sum over keys of exp(score - max)
};

// Queues the partials of all entries of args.kv. A row's bits depend on that row alone. REQUIRES: shapes as said;
// visible >= 0; heads % kv_heads == 0; head_dim at most 256.
void AttentionPartial(Lane& lane, const AttentionArgs& args, const AttentionPartials& partials);

// The merge of partials so far, of all rows and heads.
struct AttentionState {
  TensorView out;  // f32 [rows, heads, head_dim], a row dense: as in partials, of all blocks so far
  TensorView max;  // f32 [rows, heads]
  TensorView sum;  // f32 [rows, heads]
};

struct AttentionMergeArgs {
  AttentionPartials partials;
  int64_t kv_heads = 1;
  int64_t first_entry = 0;  // of the KvView that the partials are of
  AttentionState state;
  bool first = false;  // the state starts empty instead of going on
  bool last = false;   // the state's output is normalised: it is the attention. A row that saw nothing gets 0
};

// Queues the merge of partials into the state. The views of a layer's KV have to come in storage order; then the bits
// do not depend on how it was cut into views.
void AttentionMerge(Lane& lane, const AttentionMergeArgs& args);

// Queues out = the normalised attention, without partials in memory: for many rows. On the CPU its bits are those of
// partial and merge; on other devices prefill may be a class of its own (DESIGN.md, rule 2). REQUIRES: as
// AttentionPartial; args.kv begins with entry 0 and holds all that any row sees.
void AttentionPrefill(Lane& lane, const AttentionArgs& args, const TensorView& out);

// AttentionPrefill, plainly, in double, on the calling thread. For tests.
void AttentionReference(const AttentionArgs& args, const TensorView& out);

}  // namespace triforce
