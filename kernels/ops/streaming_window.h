// StreamingWindow: what rows of a streaming cache attend to: the attention sinks, turned to where the window stands,
// and the recent tokens in it (Xiao et al., arXiv 2309.17453; runtime/streaming_cache.h).
//
// A layer's cache is a block of each kv_head. It begins with two copies of the sinks; behind them lie the recent
// tokens, in tiles, from one of them on. A window of recent tokens begins with a tile. Windows are counted from the
// text's first recent token: window w begins at token sinks + 8 w, its sinks are turned by 8 w places and stand in copy
// w % 2, so that rows of two windows can attend one after another, and nothing is turned where the window stays.
#pragma once

#include <cstdint>

#include "kernels/core/lane.h"
#include "kernels/core/tensor.h"
#include "kernels/ops/kv_view.h"

namespace triforce {

struct StreamingWindowArgs {
  TensorView sinks;              // f32 [layers, 2, sinks * kv_heads, head_dim], dense: keys, turned by nothing; values
  TensorView inverse_frequency;  // f32 [head_dim / 2], of RoPE
  TensorView turned;             // i64 [layers, kv_heads, 2], dense: by how many places each copy is; -1: it is none
  TensorView blocks;             // f16|bf16|f32 [layers * kv_heads, 2, kKvBlock * head_dim], dense
  int64_t recent = 0;            // tokens of the window at most
  int64_t token = 0;             // of row 0, in the text; the others follow
  int64_t first = 0;             // which token lies behind the sinks; a multiple of 8 behind them
  TensorView base = {};          // i64 [2] on the device, dense, added to `token` and `first`; may be left out
  // For each row, written:
  TensorView tiles;  // i64 [layers, rows, kv_heads, kBlockTiles]: what it attends to, as in KvView; the last two dense
  TensorView rows;   // i64 [rows, 2], dense: how much of it, keys up to its own; where its own goes in the block
};

// Queues the lists; and, where a row's window is another than the copy of its sinks was turned for, that. A row among
// the sinks sees those up to itself in copy 0, where it goes; as it is new, copy 1 is forgotten. REQUIRES: rows of two
// windows at most, or lists alone count; shapes as said; sinks and `first` fill tiles; the recent tokens fit the block.
void StreamingWindow(Lane& lane, const StreamingWindowArgs& args);

// Of a row, by its token.
struct WindowOfRow {
  int64_t window = 0;  // its number
  int64_t tile = 0;    // of the block, that it begins with
  int64_t visible = 0;
  int64_t place = 0;
};
constexpr WindowOfRow WindowOf(int64_t token, int64_t first, int64_t sinks, int64_t recent) {
  if (token < sinks) return {.window = 0, .tile = 2 * sinks / kKeyTile, .visible = token + 1, .place = token};
  const int64_t oldest = token + 1 - recent - sinks;  // counted from the first recent token of the text
  const int64_t whole = oldest <= 0 ? 0 : (oldest + kKeyTile - 1) / kKeyTile;
  const int64_t kept = (first - sinks) / kKeyTile;
  const int64_t window = whole > kept ? whole : kept;
  return {.window = window,
          .tile = 2 * sinks / kKeyTile + window - kept,
          .visible = token + 1 - kKeyTile * window,
          .place = 2 * sinks + token - first};
}

}  // namespace triforce
