// What the CUDA kernels of AttentionPartial share: where the keys and query vectors are that meet. For .cu files only.
//
// Query vectors of one kv_head are numbered row by row: number n is head n % group of row n / group, and in the
// partials they lie in this order.
#pragma once

#include <cstdint>

#include "kernels/core/gpu.h"
#include "kernels/ops/kv_view.h"

namespace triforce {

struct PartialWork {
  const float* q;          // [rows, heads, head_dim]
  int64_t q_stride;        // of a row
  int64_t keys;            // address of the first entry; of no meaning where the view is scattered
  const int64_t* tiles;    // [entries, kBlockTiles], where it is; else null
  int64_t tile_bytes;      // of 8 keys, or of their values
  float *out, *max, *sum;  // the partials
  int64_t visible;         // to row 0,
  const int64_t* base;     // and so many more, where there is one
  int32_t first_entry, kv_heads, head_dim;
  int32_t causal;   // 1: a row sees a key more than the row before; else 0
  int32_t group;    // query heads of a kv_head
  int32_t vectors;  // rows * group
  float scale;      // of q.k, as powers of 2
};

// One entry of the view.
class PartialEntry {
 public:
  TF_DEVICE PartialEntry(const PartialWork& work, int index)
      : work_(work),
        index_(index),
        kv_head_((work.first_entry + index) % work.kv_heads),
        seen_(SeenByRow0(work, int64_t{(work.first_entry + index) / work.kv_heads} * kKvBlock)) {}

  // Keys of the entry that query vector `n` sees: its first ones. Vectors behind the last are as the last.
  TF_DEVICE int Seen(int n) const {
    const int row = (n < work_.vectors ? n : work_.vectors - 1) / work_.group;
    const int seen = seen_ + row * work_.causal;
    return seen <= 0 ? 0 : seen < kKvBlock ? seen : static_cast<int>(kKvBlock);
  }

  TF_DEVICE const float* Query(int n) const {
    return work_.q + n / work_.group * work_.q_stride + (kv_head_ * work_.group + n % work_.group) * work_.head_dim;
  }

  // Where query vector `n` stands in the partials.
  TF_DEVICE int64_t Place(int n) const { return int64_t{index_} * work_.vectors + n; }

  // Writes the addresses of the tiles that hold the first `keys` keys to table[kBlockTiles], of which others are 0: for
  // all threads of the block, behind its next barrier.
  TF_DEVICE void ListTiles(int keys, int64_t* table) const {
    for (int i = gpu::ThreadIndex(); i < kBlockTiles; i += gpu::BlockThreads()) {
      int64_t address = 0;
      if (i * kKeyTile < keys) {
        address = work_.tiles != nullptr ? work_.tiles[int64_t{index_} * kBlockTiles + i]
                                         : work_.keys + (int64_t{index_} * 2 * kBlockTiles + i) * work_.tile_bytes;
      }
      table[i] = address;
    }
  }

 private:
  // Of the keys from storage position `first` on; not more than a block and what no pass has rows for.
  TF_DEVICE static int SeenByRow0(const PartialWork& work, int64_t first) {
    constexpr int64_t kMany = 1 << 30;
    const int64_t seen = work.visible + (work.base == nullptr ? 0 : *work.base) - first;
    return static_cast<int>(seen < -kMany ? -kMany : seen < kMany ? seen : kMany);
  }

  const PartialWork& work_;
  const int index_, kv_head_;
  const int seen_;
};

}  // namespace triforce
