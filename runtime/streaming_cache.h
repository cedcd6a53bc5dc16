// StreamingCache: the KV of a draft: the first tokens (attention sinks) and the most recent ones, whatever the length
// of the text (Xiao et al., arXiv 2309.17453). Memory and time per token are constant.
//
// Positions are those within the cache: keys are kept without RoPE and turned anew in each pass, so that a draft never
// sees a position beyond its cache. Each row attends to the sinks and the recent tokens up to itself, as it would
// alone: what a token leaves in the cache depends on the tokens before it, not on the pass it came in. Behind those
// that are attended to, kDraftRollback more tokens are kept, so that as many can be taken back; beyond them the cache
// says that it has nothing, and is filled anew.
//
// Not thread-safe. Device, lane and attention memory outlive it.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/core/arena.h"
#include "kernels/core/lane.h"
#include "models/config.h"
#include "models/llama.h"
#include "offload/plan.h"
#include "runtime/segmented_attention.h"

namespace triforce {

class StreamingCache final : public AttentionCache {
 public:
  // `rope`: the model's frequencies and their scaling. Takes StreamingCacheBytes of the device. Throws Error
  // (kOutOfMemory).
  StreamingCache(Lane& lane, const DraftInput& draft, DType kv_type, const LlamaWeights& rope,
                 const AttentionMemory& memory);

  // Tokens that have been taken in.
  int64_t tokens() const { return tokens_; }
  // Forgets all but the first `tokens`; all but the sinks, where it has not kept enough of what is before them.
  void Rewind(int64_t tokens);
  // Of a text whose first `count` tokens are to be taken in, which token comes next: those that leave no trace can be
  // passed over. REQUIRES: count > tokens().
  int64_t Next(int64_t count);

  // A pass takes in tokens [Next, Next + rows). Call Begin before it, End behind it.
  void Begin(int64_t rows);
  // Keys and queries come without RoPE.
  void Attend(Lane& lane, const LayerAttention& a) override;
  void End() { tokens_ += rows_; }

 private:
  struct Layer {
    TensorView sink_keys, sink_values;      // f32 [sink_tokens, kv_features]
    TensorView recent_keys, recent_values;  // f32 [StreamingCacheRows, kv_features]
  };

  int64_t recent_tokens() const { return draft_.cache_tokens - draft_.sink_tokens; }
  void Cut(Arena& arena);
  void Compact();
  void Keep(Lane& lane, const LayerAttention& a);
  void AttendRow(Lane& lane, const LayerAttention& a, int64_t row);

  Lane& lane_;
  const DraftInput draft_;
  const DType kv_type_;
  const AttentionMemory memory_;
  const float scale_;
  Arena arena_;
  std::vector<Layer> layers_;
  TensorView turned_keys_;  // f32 [cache_tokens, kv_heads, head_dim]
  TensorView cos_, sin_;    // f32 [cache_tokens, head_dim / 2]: of positions within the cache
  KvView kv_;               // what a row attends to
  int64_t tokens_ = 0;
  int64_t began_at_;      // the first token behind those that were passed over
  int64_t first_recent_;  // which token the first row of recent ones is
  int64_t rows_ = 0;      // of the pass
};

}  // namespace triforce
