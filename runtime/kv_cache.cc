#include "runtime/kv_cache.h"

#include <cmath>

#include "kernels/core/check.h"
#include "kernels/ops/kv_append.h"

namespace triforce {
namespace {

int64_t RoundUp(int64_t value, int64_t unit) { return (value + unit - 1) / unit * unit; }

// Partials of a pass, in memory that is large enough.
AttentionPartials PartialsIn(const TensorView& memory, int64_t blocks, const TensorView& q) {
  const int64_t entries = blocks * q.dim(0) * q.dim(1);
  const auto cut = [&](int64_t first, int64_t count) { return memory.Slice(0, first, first + count); };
  return {cut(0, entries * q.dim(2)).Reshape({blocks, q.dim(0), q.dim(1), q.dim(2)}),
          cut(entries * q.dim(2), entries).Reshape({blocks, q.dim(0), q.dim(1)}),
          cut(entries * (q.dim(2) + 1), entries).Reshape({blocks, q.dim(0), q.dim(1)})};
}

}  // namespace

KvCache::KvCache(Device& device, const ModelConfig& config, DType dtype, int64_t context_tokens)
    : context_tokens_(context_tokens), scale_(1 / std::sqrt(static_cast<float>(config.head_dim))) {
  Arena sizes;
  Cut(config, dtype, sizes);
  arena_ = Arena(device, sizes.used_bytes(), "the KV cache of " + std::to_string(context_tokens) + " tokens");
  Cut(config, dtype, arena_);
}

void KvCache::Cut(const ModelConfig& config, DType dtype, Arena& arena) {
  layers_.clear();
  const int64_t capacity = RoundUp(context_tokens_, kKeyTile);
  for (int64_t layer = 0; layer < config.layers; ++layer) {
    layers_.push_back({arena.Cut(dtype, {config.kv_heads, capacity / kKeyTile, kKeyTile * config.head_dim}),
                       arena.Cut(dtype, {config.kv_heads, capacity, config.head_dim})});
  }
  partial_memory_ = arena.Cut(DType::kF32, {KvBlocks(capacity) * kPartialRows * config.heads * (config.head_dim + 2)});
}

void KvCache::set_tokens(int64_t tokens) {
  TF_CHECK(tokens >= 0 && tokens <= context_tokens_, "{} of {}", tokens, context_tokens_);
  tokens_ = tokens;
}

void KvCache::Attend(Lane& lane, const LayerAttention& a) {
  const KvView& kv = layers_[a.layer];
  const int64_t rows = a.q.dim(0);
  KvAppend(lane, {a.k, a.v, tokens_, kv});
  const AttentionArgs args{.q = a.q, .kv = kv, .visible = tokens_ + 1, .causal = true, .scale = scale_};
  if (rows > kPartialRows) {
    AttentionPrefill(lane, args, a.out);
  } else {
    const AttentionPartials partials = PartialsIn(partial_memory_, KvBlocks(tokens_ + rows), a.q);
    AttentionPartial(lane, args, partials);
    AttentionMerge(lane, partials, a.out);
  }
}

}  // namespace triforce
