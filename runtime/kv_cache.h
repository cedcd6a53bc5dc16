// KvCache: all KV of one sequence, on the device, in token order.
//
// A pass writes its rows behind the tokens there are, and each row sees all tokens up to itself. Moving the end back
// (Rewind in session terms) forgets tokens; their memory is written over.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/core/arena.h"
#include "kernels/core/device.h"
#include "kernels/ops/attention.h"
#include "kernels/ops/kv_view.h"
#include "models/config.h"
#include "models/llama.h"

namespace triforce {

class KvCache final : public AttentionCache {
 public:
  // Room for `context_tokens`. Throws Error (kOutOfMemory).
  KvCache(Device& device, const ModelConfig& config, DType dtype, int64_t context_tokens);

  // Tokens that the next pass sees; its rows come behind them.
  int64_t tokens() const { return tokens_; }
  // REQUIRES: 0 <= tokens <= context_tokens.
  void set_tokens(int64_t tokens);
  int64_t context_tokens() const { return context_tokens_; }

  const KvView& layer(int64_t layer) const { return layers_[layer]; }

  void Attend(Lane& lane, const LayerAttention& a) override;

 private:
  // Passes of up to so many rows share out the blocks of keys among threads, by partials; larger ones share out rows.
  static constexpr int64_t kPartialRows = 16;

  void Cut(const ModelConfig& config, DType dtype, Arena& arena);

  const int64_t context_tokens_;
  const float scale_;
  Arena arena_;
  std::vector<KvView> layers_;
  TensorView partial_memory_;  // f32, for AttentionPartials of kPartialRows rows
  int64_t tokens_ = 0;
};

}  // namespace triforce
