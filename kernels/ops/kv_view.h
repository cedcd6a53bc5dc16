// KvView: a run of KV blocks of one layer of one sequence, as attention reads it and kv_append writes it.
//
// Tokens stand at storage positions 0, 1, 2, ... A block holds the keys and the values of one kv_head at kKvBlock of
// them, as [2, kKvBlock * head_dim]. The KV of a layer is one sequence of blocks: all kv_heads of the first positions,
// then all of the next, so block b of kv_head h is entry b * kv_heads + h. A view is any run of entries, wherever it
// lies: the whole, a slot of a ring, the tail. What is used of a KV is always a prefix of its entries, whatever its
// capacity, and tokens that come later lie behind it.
//
// Within a block values lie row by row. Keys lie in tiles of kKeyTile tokens, within a tile as [head_dim / 2, kKeyTile,
// 2]: SIMD lanes run over keys and over the two elements of a pair, so that each q.k is one sum of even elements plus
// one of odd ones, in the order of head_dim, for any number of rows (rule 2 of DESIGN.md). Attention sums within blocks
// and merges them in storage order, so that a result does not depend on how a KV is cut into views.
//
// A scattered view has a list of tiles instead of blocks: attention reads it as if the tiles that it names lay one
// behind the other. Only attention takes one.
#pragma once

#include <cstdint>

#include "kernels/core/tensor.h"

namespace triforce {

inline constexpr int64_t kKeyTile = 8;    // tokens
inline constexpr int64_t kKvBlock = 512;  // tokens
inline constexpr int64_t kBlockTiles = kKvBlock / kKeyTile;

struct KvView {
  TensorView blocks;        // f16|bf16|f32 [entries, 2, kKvBlock * head_dim], dense: keys, values
  int64_t kv_heads = 1;     // of the layer
  int64_t first_entry = 0;  // of the layer's entries, what blocks[0] is
  // i64 [entries, kBlockTiles], dense; none where the view is not scattered: addresses of key tiles, on the device. The
  // values of a tile's tokens lie kKvBlock * head_dim elements behind its keys. Of `blocks` then only the type and
  // head_dim count. Tiles behind the last visible key are not read.
  TensorView tiles = {};

  DType dtype() const { return blocks.dtype(); }
  bool scattered() const { return static_cast<bool>(tiles); }
  int64_t entries() const { return scattered() ? tiles.dim(0) : blocks.dim(0); }
  int64_t head_dim() const { return blocks.dim(2) / kKvBlock; }
  int64_t entry_bytes() const { return blocks.stride(0) * SizeOf(dtype()); }

  // Of entry i of this view.
  int64_t HeadOf(int64_t i) const { return (first_entry + i) % kv_heads; }
  int64_t BlockOf(int64_t i) const { return (first_entry + i) / kv_heads; }
  // Storage positions that all heads of this view reach: [first, end).
  int64_t first_position() const { return (first_entry + kv_heads - 1) / kv_heads * kKvBlock; }
  int64_t end_position() const { return (first_entry + entries()) / kv_heads * kKvBlock; }

  // Entries [begin, end) of this view.
  KvView Slice(int64_t begin, int64_t end) const {
    if (scattered()) return {blocks, kv_heads, first_entry + begin, tiles.Slice(0, begin, end)};
    return {blocks.Slice(0, begin, end), kv_heads, first_entry + begin};
  }
};

// REQUIRES of every op that takes one: as above, head_dim even; not scattered, but for attention.
void CheckKvView(const KvView& kv, bool may_be_scattered = false);

// Blocks that `tokens` storage positions touch.
constexpr int64_t KvBlocks(int64_t tokens) { return (tokens + kKvBlock - 1) / kKvBlock; }

// The keys and the values of entry i of the view.
template <typename T>
T* KeysOf(const KvView& kv, int64_t i) {
  return kv.blocks.as<T>() + i * kv.blocks.stride(0);
}
template <typename T>
T* ValuesOf(const KvView& kv, int64_t i) {
  return KeysOf<T>(kv, i) + kv.blocks.stride(1);
}

// The tile that holds the key of kv_head `kv_head` at storage position `position`.
template <typename T>
T* KeyTileAt(const KvView& kv, int64_t kv_head, int64_t position) {
  return KeysOf<T>(kv, position / kKvBlock * kv.kv_heads + kv_head - kv.first_entry) +
         position % kKvBlock / kKeyTile * kKeyTile * kv.head_dim();
}

// Where element `i` of the key at storage position `position` lies within its tile.
constexpr int64_t KeyElement(int64_t position, int64_t i) {
  return i / 2 * (2 * kKeyTile) + position % kKeyTile * 2 + i % 2;
}

// The value at storage position `position`: head_dim elements, dense.
template <typename T>
T* ValueAt(const KvView& kv, int64_t kv_head, int64_t position) {
  return ValuesOf<T>(kv, position / kKvBlock * kv.kv_heads + kv_head - kv.first_entry) +
         position % kKvBlock * kv.head_dim();
}

}  // namespace triforce
