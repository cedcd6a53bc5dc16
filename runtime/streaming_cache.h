// StreamingCache: the KV of a draft: the first tokens (attention sinks) and the most recent ones, whatever the length
// of the text (Xiao et al., arXiv 2309.17453). Memory and time per token are constant.
//
// A query stands as far from each key as if both had their positions within the cache. RoPE knows distances only, so
// recent keys keep the positions that they have in the text, and the sinks, few, are turned after the window as it
// moves on. It moves in tiles of eight tokens: what is attended to besides the sinks are the last 233 to 240 tokens (of
// a cache of 256), where they lie, through one of some lists that are made beforehand. Each row attends to the sinks
// and the recent tokens up to itself, as it would alone: what a token leaves in the cache depends on the tokens before
// it, not on the pass it came in. Behind those that are attended to, kDraftRollback more tokens are kept, so that as
// many can be taken back; beyond them the cache says that it has nothing, and is filled anew.
//
// Not thread-safe. Device, lane, positions and attention memory outlive it.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/core/arena.h"
#include "kernels/core/lane.h"
#include "kernels/ops/kv_view.h"
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
  // them, the recent tokens and those that are kept besides.
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

 private:
  struct Layer {
    KvView kv;  // a block of each kv_head: the sinks, then recent tokens from first_recent_ on
    TensorView
        tiles;  // i64 [windows, kv_heads, kBlockTiles]: the sinks' tiles, and the recent ones from one of them on
    TensorView sink_keys, sink_values;  // f32 [sink_tokens, kv_heads, head_dim], as they came
    int64_t sinks_turned_by = -1;       // as they lie in kv; -1: not as they are now
  };

  int64_t sink_tokens() const { return context_.draft.sink_tokens; }
  int64_t recent_tokens() const { return context_.draft.cache_tokens - sink_tokens(); }
  int64_t Windows() const { return kBlockTiles - sink_tokens() / kKeyTile; }
  // The first recent token that the row attends to that stands behind `tokens` tokens, if it is kept.
  int64_t WindowBehind(int64_t tokens) const;
  void Cut(Arena& arena);
  void ListTiles();
  void Compact();
  void Keep(Lane& lane, const LayerAttention& a);
  void TurnSinks(Lane& lane, Layer& layer, int64_t by);
  void AttendRow(Lane& lane, const LayerAttention& a, int64_t row);

  const StreamingCacheContext context_;
  const float scale_;
  Arena arena_;
  std::vector<Layer> layers_;
  TensorView turned_;     // f32 [1, sink_tokens * kv_heads, head_dim]
  TensorView cos_, sin_;  // f32 [1, head_dim / 2]
  int64_t tokens_ = 0;
  int64_t began_at_;      // the first token behind those that were passed over
  int64_t first_recent_;  // which token the first recent slot holds
  int64_t rows_ = 0;      // of the pass
};

}  // namespace triforce
