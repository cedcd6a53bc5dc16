// KvView: the KV of one layer of one sequence, as attention reads it and kv_append writes it.
//
// Tokens stand at storage positions 0, 1, 2, ... Values lie row by row. Keys lie in tiles of kKeyTile tokens, within a
// tile as [head_dim / 2, kKeyTile, 2]: SIMD lanes run over keys and over the two elements of a pair, so that each q.k
// is one sum of even elements plus one of odd ones, in the order of head_dim, for any number of rows (rule 2 of
// DESIGN.md). Attention sums within fixed blocks of kKvBlock storage positions and merges blocks in order, so that a
// result does not depend on how a cache is cut into segments, as long as cuts are at block borders.
#pragma once

#include <cstdint>

#include "kernels/core/tensor.h"

namespace triforce {

inline constexpr int64_t kKeyTile = 8;    // tokens
inline constexpr int64_t kKvBlock = 512;  // tokens

struct KvView {
  TensorView keys;    // f16|bf16|f32 [kv_heads, capacity / kKeyTile, kKeyTile * head_dim]; a head's tiles dense
  TensorView values;  // the same dtype [kv_heads, capacity, head_dim]; a head's rows dense

  DType dtype() const { return values.dtype(); }
  int64_t kv_heads() const { return values.dim(0); }
  int64_t capacity() const { return values.dim(1); }  // tokens, a multiple of kKeyTile
  int64_t head_dim() const { return values.dim(2); }
};

// REQUIRES of every op that takes one: the two views fit each other, as above.
void CheckKvView(const KvView& kv);

// Blocks that `tokens` storage positions touch.
constexpr int64_t KvBlocks(int64_t tokens) { return (tokens + kKvBlock - 1) / kKvBlock; }

// The tile that holds the key at storage position `position`.
template <typename T>
T* KeyTileAt(const KvView& kv, int64_t kv_head, int64_t position) {
  return kv.keys.as<T>() + kv_head * kv.keys.stride(0) + position / kKeyTile * kv.keys.stride(1);
}

// Where element `i` of the key at storage position `position` lies within its tile.
constexpr int64_t KeyElement(int64_t position, int64_t i) {
  return i / 2 * (2 * kKeyTile) + position % kKeyTile * 2 + i % 2;
}

// The value at storage position `position`: head_dim elements, dense.
template <typename T>
T* ValueAt(const KvView& kv, int64_t kv_head, int64_t position) {
  return kv.values.as<T>() + kv_head * kv.values.stride(0) + position * kv.values.stride(1);
}

}  // namespace triforce
