// Attention over a KV: partials by block and their merge, for decoding; the whole at once, for prefill.
//
// Softmax does not care where its terms come from: each block of kKvBlock keys gives an unnormalised output with its
// own maximum and sum, and partials are merged by log-sum-exp (Milakov and Gimelshein, arXiv 1805.02867; Dao et al.,
// FlashAttention, arXiv 2205.14135). A cache that lies in several places gives its partials segment by segment, in
// any order of time; the merge takes them in storage order. GQA: query head h reads kv_head h / (heads / kv_heads).
#pragma once

#include <cstdint>

#include "kernels/core/lane.h"
#include "kernels/core/tensor.h"
#include "kernels/ops/kv_view.h"

namespace triforce {

struct AttentionArgs {
  TensorView q;  // f32 [rows, heads, head_dim], RoPE applied; a row dense
  KvView kv;
  int64_t visible = 0;  // keys of kv that row 0 sees, from storage position 0
  bool causal = false;  // row r sees visible + r keys instead of visible
  float scale = 1.0f;   // of q.k, before the softmax

  int64_t rows() const { return q.dim(0); }
  int64_t heads() const { return q.dim(1); }
  // Keys that row `row` sees.
  int64_t VisibleTo(int64_t row) const { return causal ? visible + row : visible; }
};

// One entry a block of keys, row and head. A block of which a row sees nothing has max -infinity, sum 0 and output 0.
struct AttentionPartials {
  TensorView out;  // f32 [blocks, rows, heads, head_dim]: sum over keys of exp(score - max) * value
  TensorView max;  // f32 [blocks, rows, heads]: the largest score
  TensorView sum;  // f32 [blocks, rows, heads]: sum over keys of exp(score - max)
};

// Queues the partials of all blocks that any row sees: KvBlocks(VisibleTo(rows - 1)) of them, which is partials'
// outermost dimension. A row's bits depend on that row alone. REQUIRES: shapes as said; visible >= 0; no row sees more
// than kv.capacity(); heads % kv_heads == 0; head_dim at most 256.
void AttentionPartial(Lane& lane, const AttentionArgs& args, const AttentionPartials& partials);

// Queues out = the normalised attention over all blocks of `partials`, merged in their order.
// out: f32 [rows, heads, head_dim], a row dense. A row that saw nothing gets 0.
void AttentionMerge(Lane& lane, const AttentionPartials& partials, const TensorView& out);

// Queues out = the normalised attention, without partials in memory: for many rows. On the CPU its bits are those of
// partial and merge; on other devices prefill may be a class of its own (DESIGN.md, rule 2).
void AttentionPrefill(Lane& lane, const AttentionArgs& args, const TensorView& out);

// The same, plainly, in double, on the calling thread. For tests.
void AttentionReference(const AttentionArgs& args, const TensorView& out);

}  // namespace triforce
