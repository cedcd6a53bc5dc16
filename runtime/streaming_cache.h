// StreamingCache: the KV of a draft: the first tokens (attention sinks) and the most recent ones, whatever the length
// of the text (Xiao et al., arXiv 2309.17453). Memory and time per token are constant.
//
// A query stands as far from each key as if both had their positions within the cache. RoPE knows distances only, so
// recent keys keep the positions that they have in the text, and the sinks, few, are turned after the window as it
// moves on (kernels/ops/streaming_window.h). It moves in tiles of eight tokens: what is attended to besides the sinks
// are the last 233 to 240 tokens (of a cache of 256), where they lie. Each row attends to the sinks and the recent
// tokens up to itself, as it would alone: what a token leaves in the cache depends on the tokens before it, not on the
// pass it came in. Behind those that are attended to, kDraftRollback more tokens are kept, so that as many can be taken
// back; beyond them the cache says that it has nothing, and is filled anew.
//
// A pass may be captured and replayed: then the tokens that it takes in stand where device memory says.
//
// Not thread-safe. Device, lane, positions and attention memory outlive it.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/core/arena.h"
#include "kernels/core/lane.h"
#include "kernels/ops/kv_view.h"
#include "kernels/ops/streaming_window.h"
#include "models/config.h"
#include "models/llama.h"
#include "offload/plan.h"
#include "runtime/segmented_attention.h"

namespace triforce {

// What the caches of a draft share.
struct StreamingCacheContext {
  Lane& lane;
  DraftInput draft;
  DType kv_type = DType::kF16;
  TensorView inverse_frequency;  // RoPE's, f32 [head_dim / 2]
  TensorView positions;          // i32 [any]: 0, 1, 2, ..., as many as a text may have
  AttentionMemory memory;
};

class StreamingCache final : public AttentionCache {
 public:
  // Takes StreamingCacheBytes of the device. Throws Error (kOutOfMemory). REQUIRES: sinks fill tiles, and a block holds
  // them twice, the recent tokens, those that are kept besides, and a pass' own.
  explicit StreamingCache(const StreamingCacheContext& context);

  // Tokens that have been taken in.
  int64_t tokens() const { return tokens_; }
  // Forgets all but the first `tokens`; all but the sinks, where it has not kept enough of what is before them.
  void Rewind(int64_t tokens);
  // Of a text whose first `count` tokens are to be taken in, which token comes next: those that leave no trace can be
  // passed over. REQUIRES: count > tokens().
  int64_t Next(int64_t count);

  // A pass takes in tokens [Next, Next + rows), at their positions in the text. Call Begin before it, End behind it.
  void Begin(int64_t rows);
  void Attend(Lane& lane, const LayerAttention& a) override;
  void End() { tokens_ += rows_; }

  // Room for `tokens` more, of passes that are captured; false where the sinks are not all there, or never so many fit.
  bool Reserve(int64_t tokens);
  // Which token the first recent place holds; as long as nothing but captured passes runs, until the next Reserve.
  int64_t first_recent() const { return first_recent_; }
  int64_t sink_tokens() const { return context_.draft.sink_tokens; }
  // Instead of Begin and End: the pass' first token is the one that stands `offset` behind the first number of `base`,
  // i64 [2] on the device, of which the second one is first_recent. All before it have been taken in. REQUIRES, when it
  // runs: Reserve was called for its tokens. 1 <= rows <= kCapturedRows.
  static constexpr int64_t kCapturedRows = kKeyTile + 1;
  void BeginCaptured(const TensorView& base, int64_t offset, int64_t rows);
  // What captured passes have taken in: the text's first `tokens`.
  void Take(int64_t tokens);

 private:
  int64_t recent_tokens() const { return context_.draft.cache_tokens - sink_tokens(); }
  int64_t RecentPlaces() const { return kKvBlock - 2 * sink_tokens(); }
  // The first recent token that the row attends to that stands behind `tokens` tokens, if it is kept.
  int64_t WindowBehind(int64_t tokens) const;
  // Of a row of the pass.
  WindowOfRow Window(int64_t row) const;
  void Cut(Arena& arena);
  void Compact();
  KvView LayerKv(int64_t layer) const;
  // Queues windows and lists of layers [layer, layer_end), rows [row, row_end).
  void MoveWindow(int64_t layer, int64_t layer_end, int64_t row, int64_t row_end);
  void Keep(Lane& lane, const LayerAttention& a);
  void AttendRow(Lane& lane, const LayerAttention& a, int64_t row);

  const StreamingCacheContext context_;
  const float scale_;
  Arena arena_;
  TensorView blocks_;   // [layers * kv_heads, 2, kKvBlock * head_dim]: two copies of the sinks, turned; recent tokens
  TensorView sinks_;    // f32 [layers, 2, sink_tokens * kv_heads, head_dim]: keys and values, as they came
  TensorView turned_;   // i64 [layers, kv_heads, 2]: as in StreamingWindowArgs
  TensorView tiles_;    // i64 [layers, kDraftRows, kv_heads, kBlockTiles]: of a pass' rows
  TensorView of_rows_;  // i64 [kDraftRows, 2]: keys that a row sees, and the place of its own
  int64_t tokens_ = 0;
  int64_t began_at_;      // the first token behind those that were passed over
  int64_t first_recent_;  // which token the first recent place holds
  // Of the pass:
  int64_t rows_ = 0;
  int64_t prepared_ = 0;  // rows whose windows all layers have
  TensorView base_;       // where it was captured,
  int64_t offset_ = 0;
};

}  // namespace triforce
