// What the CUDA kernels of AttentionPrefill share: their arguments, and which block computes what. For .cu files only.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>

#include "kernels/core/cuda_lane.h"
#include "kernels/core/gpu.h"
#include "kernels/ops/attention.h"

namespace triforce {

// Of a row that has seen no key: what scores are weighed against, lower than any of them.
inline constexpr float kNothingSeen = std::numeric_limits<float>::lowest();
inline constexpr float kUnseen = -std::numeric_limits<float>::infinity();  // score of a key that a row does not see

// Counts of rows, keys and blocks are ints: a GPU holds fewer than 2^31 of each.
template <typename T>
struct PrefillWork {
  const float* q;
  float* out;
  int64_t q_stride, out_stride;
  const T* entries;
  int64_t entry, values;  // elements from one entry to the next, from an entry's keys to its values
  int rows, heads, kv_heads, group, head_dim;
  int visible, growth;             // keys that row 0 sees; that each row sees more than the one before
  float scale;                     // of scores as powers of 2
  int row_blocks, heads_together;  // blocks of a head; kv_heads whose blocks are mixed

  // Rows behind the last are as the last.
  TF_DEVICE int Row(int row) const { return row < rows ? row : rows - 1; }
  TF_DEVICE int VisibleTo(int row) const { return visible + growth * Row(row); }
  TF_DEVICE const float* Query(int row, int head) const { return q + Row(row) * q_stride + int64_t{head} * head_dim; }
  TF_DEVICE float* Out(int row, int head) const { return out + row * out_stride + int64_t{head} * head_dim; }
  // The keys of a kv_head from a storage position on: whole tiles.
  TF_DEVICE const T* Keys(int kv_head, int position) const {
    constexpr int kBlock = static_cast<int>(kKvBlock);
    return entries + (int64_t{position / kBlock} * kv_heads + kv_head) * entry + int64_t{position % kBlock} * head_dim;
  }
};

template <typename T>
PrefillWork<T> PrefillWorkOf(const AttentionArgs& args, const TensorView& out, int block_rows) {
  constexpr float kLog2E = 1.44269504f;
  constexpr int64_t kCacheBytes = int64_t{16} << 20;  // of the second cache, for KV that blocks share
  const KvView& kv = args.kv;
  const int64_t head_bytes = std::max<int64_t>(1, KvBlocks(args.VisibleTo(args.rows() - 1)) * kv.entry_bytes());
  const auto count = [](int64_t n) { return static_cast<int>(n); };
  return {.q = args.q.as<float>(),
          .out = out.as<float>(),
          .q_stride = args.q.stride(0),
          .out_stride = out.stride(0),
          .entries = kv.blocks.as<T>(),
          .entry = kv.blocks.stride(0),
          .values = kv.blocks.stride(1),
          .rows = count(args.rows()),
          .heads = count(args.heads()),
          .kv_heads = count(kv.kv_heads),
          .group = count(args.group()),
          .head_dim = count(kv.head_dim()),
          .visible = count(args.visible),
          .growth = args.causal ? 1 : 0,
          .scale = args.scale * kLog2E,
          .row_blocks = count((args.rows() + block_rows - 1) / block_rows),
          .heads_together = count(std::clamp<int64_t>(kCacheBytes / head_bytes, 1, kv.kv_heads))};
}

// What a block computes.
struct PrefillPlace {
  int head, kv_head, first_row;
};

// Rows that see most come first, so that no long block is left to the end; a few heads at a time, so that their KV
// stays in the second cache, and those of one kv_head side by side.
template <typename T>
TF_DEVICE PrefillPlace PlaceOf(const PrefillWork<T>& work, int block_rows) {
  const int block = static_cast<int>(gpu::BlockX());
  const int most_heads = work.heads_together * work.group, section_blocks = most_heads * work.row_blocks;
  const int first_head = block / section_blocks * most_heads, in_section = block % section_blocks;
  const int heads = most_heads < work.heads - first_head ? most_heads : work.heads - first_head;
  const int head = first_head + in_section % heads;
  return {head, head / work.group, (work.row_blocks - 1 - in_section / heads) * block_rows};
}

// Prefill for all types and head_dims, in f32. attention_prefill_plain_cuda.cu
void AttentionPrefillPlainly(CudaLane& lane, const AttentionArgs& args, const TensorView& out);

}  // namespace triforce
