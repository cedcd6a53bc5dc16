#include "runtime/streaming_cache.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "kernels/core/check.h"
#include "kernels/core/device.h"
#include "kernels/ops/kv_append.h"
#include "kernels/ops/rope.h"
#include "offload/plan_sizes.h"

namespace triforce {

StreamingCache::StreamingCache(Lane& lane, const DraftInput& draft, DType kv_type, const LlamaWeights& rope,
                               const AttentionMemory& memory)
    : lane_(lane),
      draft_(draft),
      kv_type_(kv_type),
      memory_(memory),
      scale_(1 / std::sqrt(static_cast<float>(draft.shape.head_dim))),
      layers_(draft.shape.layers),
      began_at_(draft.sink_tokens),
      first_recent_(draft.sink_tokens) {
  Arena sizes;
  Cut(sizes);
  arena_ = Arena(lane.device(), sizes.used_bytes(), "the draft's cache");
  Cut(arena_);
  std::vector<int32_t> positions(draft.cache_tokens);
  std::iota(positions.begin(), positions.end(), 0);
  // Where the keys will lie there is room for their positions.
  const TensorView at(turned_keys_.device(), turned_keys_.data(), DType::kI32, {draft.cache_tokens});
  lane.Copy(at.data(), positions.data(), at.bytes(), "load");
  RopeTable(lane, {at, rope.inverse_frequency, rope.rope_scaling, cos_, sin_});
  lane.Synchronize();
}

void StreamingCache::Cut(Arena& arena) {
  const ModelShape& s = draft_.shape;
  const auto rows = [&](int64_t count) { return arena.Cut(DType::kF32, {count, s.kv_features()}); };
  for (Layer& layer : layers_) {
    // One tensor each for keys and values: sinks, then recent ones.
    const TensorView keys = rows(draft_.sink_tokens + StreamingCacheRows(draft_));
    const TensorView values = rows(draft_.sink_tokens + StreamingCacheRows(draft_));
    layer = {.sink_keys = keys.Slice(0, 0, draft_.sink_tokens),
             .sink_values = values.Slice(0, 0, draft_.sink_tokens),
             .recent_keys = keys.Slice(0, draft_.sink_tokens, keys.dim(0)),
             .recent_values = values.Slice(0, draft_.sink_tokens, values.dim(0))};
  }
  turned_keys_ = arena.Cut(DType::kF32, {draft_.cache_tokens, s.kv_heads, s.head_dim});
  cos_ = arena.Cut(DType::kF32, {draft_.cache_tokens, s.head_dim / 2});
  sin_ = arena.Cut(DType::kF32, {draft_.cache_tokens, s.head_dim / 2});
  kv_ = {arena.Cut(kv_type_, {KvBlocks(draft_.cache_tokens) * s.kv_heads, 2, kKvBlock * s.head_dim}), s.kv_heads, 0};
}

void StreamingCache::Rewind(int64_t tokens) {
  TF_CHECK(tokens <= tokens_, "{} of {}", tokens, tokens_);
  // The next row attends to itself and the recent tokens before it.
  const int64_t needed = std::max(draft_.sink_tokens, tokens - (recent_tokens() - 1));
  const bool whole = began_at_ == draft_.sink_tokens || tokens >= began_at_ + draft_.shape.layers * recent_tokens();
  tokens_ = first_recent_ <= needed && whole ? tokens : std::min(tokens, draft_.sink_tokens);
  if (tokens_ <= draft_.sink_tokens) began_at_ = first_recent_ = draft_.sink_tokens;
}

int64_t StreamingCache::Next(int64_t count) {
  TF_CHECK(count > tokens_, "{} behind {}", count, tokens_);
  if (tokens_ < draft_.sink_tokens) return tokens_;
  // What a layer gives to the next one at a token depends on the recent tokens before it, so a trace goes back by so
  // many per layer.
  const int64_t reach = draft_.shape.layers * recent_tokens() + kDraftRollback;
  if (tokens_ < count - reach) tokens_ = began_at_ = first_recent_ = count - reach;
  return tokens_;
}

void StreamingCache::Begin(int64_t rows) {
  rows_ = rows;
  const int64_t room = StreamingCacheRows(draft_) - (std::max(tokens_, draft_.sink_tokens) - first_recent_);
  const int64_t recent = tokens_ + rows - std::max(tokens_, draft_.sink_tokens);
  if (recent > room) Compact();
  TF_CHECK(rows <= kDraftRollback, "{} rows", rows);
}

// Moves what may still be attended to to the front.
void StreamingCache::Compact() {
  const int64_t keep = recent_tokens() + kDraftRollback, have = tokens_ - first_recent_;
  TF_CHECK(have >= 2 * keep - kDraftRollback, "{} of {}", have, keep);
  for (const Layer& layer : layers_) {
    for (const TensorView& rows : {layer.recent_keys, layer.recent_values}) {
      for (int64_t moved = 0; moved < keep;) {  // in pieces that do not overlap
        const int64_t count = std::min(keep - moved, have - keep);
        lane_.Copy(rows.Slice(0, moved, moved + count).data(), rows.Slice(0, have - keep + moved, have).data(),
                   rows.Slice(0, 0, count).bytes(), "compact");
        moved += count;
      }
    }
  }
  first_recent_ = tokens_ - keep;
}

void StreamingCache::Keep(Lane& lane, const LayerAttention& a) {
  const Layer& layer = layers_[a.layer];
  const int64_t row_bytes = draft_.shape.kv_features() * SizeOf(DType::kF32);
  for (int64_t row = 0; row < a.k.dim(0); ++row) {
    const int64_t token = tokens_ + row;
    const bool sink = token < draft_.sink_tokens;
    const int64_t at = sink ? token : token - first_recent_;
    lane.Copy((sink ? layer.sink_keys : layer.recent_keys).Slice(0, at, at + 1).data(),
              a.k.Slice(0, row, row + 1).data(), row_bytes, "keep");
    lane.Copy((sink ? layer.sink_values : layer.recent_values).Slice(0, at, at + 1).data(),
              a.v.Slice(0, row, row + 1).data(), row_bytes, "keep");
  }
}

void StreamingCache::Attend(Lane& lane, const LayerAttention& a) {
  TF_CHECK(a.q.dim(0) == rows_, "{} rows of {}", a.q.dim(0), rows_);
  Keep(lane, a);
  for (int64_t row = 0; row < rows_; ++row) AttendRow(lane, a, row);
}

void StreamingCache::AttendRow(Lane& lane, const LayerAttention& a, int64_t row) {
  const Layer& layer = layers_[a.layer];
  const int64_t kv_heads = draft_.shape.kv_heads, head_dim = draft_.shape.head_dim, end = tokens_ + row + 1;
  const int64_t sinks = std::min(end, draft_.sink_tokens);
  const int64_t first = std::max({draft_.sink_tokens, end - recent_tokens(), first_recent_});
  const int64_t recent = std::max<int64_t>(0, end - first), count = sinks + recent;
  // Keys to their places in the cache, turned.
  const auto recent_rows = [&](const TensorView& rows) {
    return rows.Slice(0, first - first_recent_, first - first_recent_ + recent);
  };
  const TensorView keys = turned_keys_.Slice(0, 0, count);
  lane.Copy(keys.data(), layer.sink_keys.data(), layer.sink_keys.Slice(0, 0, sinks).bytes(), "gather");
  if (recent > 0) {
    const TensorView from = recent_rows(layer.recent_keys);
    lane.Copy(keys.Slice(0, sinks, count).data(), from.data(), from.bytes(), "gather");
  }
  Rope(lane, {keys, cos_.Slice(0, 0, count), sin_.Slice(0, 0, count)});
  KvAppend(lane, {keys.Slice(0, 0, sinks), layer.sink_values.Slice(0, 0, sinks).SplitRows(kv_heads, head_dim), 0, kv_});
  if (recent > 0) {
    KvAppend(lane,
             {keys.Slice(0, sinks, count), recent_rows(layer.recent_values).SplitRows(kv_heads, head_dim), sinks, kv_});
  }
  const TensorView q = a.q.Slice(0, row, row + 1);
  Rope(lane, {q, cos_.Slice(0, count - 1, count), sin_.Slice(0, count - 1, count)});
  SegmentedAttention(lane, memory_, {.q = q, .kv = {}, .visible = count, .causal = false, .scale = scale_},
                     a.out.Slice(0, row, row + 1))
      .Take(kv_.Slice(0, KvBlocks(count) * kv_heads), true);
}

}  // namespace triforce
