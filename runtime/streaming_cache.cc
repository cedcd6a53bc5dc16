#include "runtime/streaming_cache.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/core/check.h"
#include "kernels/core/device.h"
#include "kernels/ops/kv_append.h"
#include "kernels/ops/rope.h"
#include "offload/plan_sizes.h"

namespace triforce {
namespace {

constexpr int64_t TilesBefore(int64_t tokens) { return tokens < 0 ? 0 : tokens / kKeyTile * kKeyTile; }

}  // namespace

StreamingCache::StreamingCache(const StreamingCacheContext& context)
    : context_(context),
      scale_(1 / std::sqrt(static_cast<float>(context.draft.shape.head_dim))),
      layers_(context.draft.shape.layers),
      began_at_(context.draft.sink_tokens),
      first_recent_(context.draft.sink_tokens) {
  TF_CHECK(sink_tokens() % kKeyTile == 0 && context.draft.cache_tokens + 2 * kDraftRollback <= kKvBlock, "{} and {}",
           sink_tokens(), context.draft.cache_tokens);
  Arena sizes;
  Cut(sizes);
  arena_ = Arena(context.lane.device(), sizes.used_bytes(), "the draft's cache");
  Cut(arena_);
  ListTiles();
}

void StreamingCache::Cut(Arena& arena) {
  const ModelShape& s = context_.draft.shape;
  for (Layer& layer : layers_) {
    layer.kv = {arena.Cut(context_.kv_type, {s.kv_heads, 2, kKvBlock * s.head_dim}), s.kv_heads, 0};
    layer.tiles = arena.Cut(DType::kI64, {Windows() * s.kv_heads, kBlockTiles});
    layer.sink_keys = arena.Cut(DType::kF32, {sink_tokens(), s.kv_heads, s.head_dim});
    layer.sink_values = arena.Cut(DType::kF32, {sink_tokens(), s.kv_heads, s.head_dim});
  }
  turned_ = arena.Cut(DType::kF32, {1, sink_tokens() * s.kv_heads, s.head_dim});
  cos_ = arena.Cut(DType::kF32, {1, s.head_dim / 2});
  sin_ = arena.Cut(DType::kF32, {1, s.head_dim / 2});
}

void StreamingCache::ListTiles() {
  const ModelShape& s = context_.draft.shape;
  const int64_t sink_tiles = sink_tokens() / kKeyTile;
  const int64_t tile_bytes = kKeyTile * s.head_dim * SizeOf(context_.kv_type);
  for (Layer& layer : layers_) {
    std::vector<int64_t> tiles;
    for (int64_t window = 0; window < Windows(); ++window) {
      for (int64_t head = 0; head < s.kv_heads; ++head) {
        const auto* const first = static_cast<const std::byte*>(layer.kv.blocks.data()) + head * layer.kv.entry_bytes();
        for (int64_t i = 0; i < kBlockTiles; ++i) {
          // What lies behind the block's end is never visible.
          const int64_t tile = std::min(i < sink_tiles ? i : i + window, kBlockTiles - 1);
          tiles.push_back(reinterpret_cast<int64_t>(first + tile * tile_bytes));
        }
      }
    }
    context_.lane.Copy(layer.tiles.data(), tiles.data(), layer.tiles.bytes(), "load");
    context_.lane.Synchronize();
  }
}

int64_t StreamingCache::WindowBehind(int64_t tokens) const {
  const int64_t oldest = tokens + 1 - recent_tokens() - sink_tokens();
  return sink_tokens() + TilesBefore(oldest + kKeyTile - 1);
}

void StreamingCache::Rewind(int64_t tokens) {
  TF_CHECK(tokens <= tokens_, "{} of {}", tokens, tokens_);
  const bool whole = began_at_ == sink_tokens() || tokens >= began_at_ + context_.draft.shape.layers * recent_tokens();
  tokens_ = first_recent_ <= WindowBehind(tokens) && whole ? tokens : std::min(tokens, sink_tokens());
  if (tokens_ <= sink_tokens()) began_at_ = first_recent_ = sink_tokens();
}

int64_t StreamingCache::Next(int64_t count) {
  TF_CHECK(count > tokens_, "{} behind {}", count, tokens_);
  if (tokens_ < sink_tokens()) return tokens_;
  // What a layer gives to the next one at a token depends on the recent tokens before it, so a trace goes back by so
  // many per layer.
  const int64_t reach = context_.draft.shape.layers * recent_tokens() + kDraftRollback;
  const int64_t first = sink_tokens() + TilesBefore(count - reach - sink_tokens());
  if (tokens_ < first) tokens_ = began_at_ = first_recent_ = first;
  return tokens_;
}

void StreamingCache::Begin(int64_t rows) {
  TF_CHECK(rows <= kDraftRollback, "{} rows", rows);
  rows_ = rows;
  if (tokens_ + rows - first_recent_ > kKvBlock - sink_tokens()) Compact();
}

// Moves what may still be attended to to the front.
void StreamingCache::Compact() {
  const ModelShape& s = context_.draft.shape;
  const int64_t first = sink_tokens() + TilesBefore(tokens_ - recent_tokens() - kDraftRollback - sink_tokens());
  const int64_t by = first - first_recent_, keep = (tokens_ - first + kKeyTile - 1) / kKeyTile * kKeyTile;
  TF_CHECK(by > 0, "{} of {}", by, tokens_);
  const int64_t token_bytes = s.head_dim * SizeOf(context_.kv_type);
  for (const Layer& layer : layers_) {
    for (int64_t part = 0; part < 2 * s.kv_heads; ++part) {  // keys and values of each kv_head
      auto* const to =
          static_cast<std::byte*>(layer.kv.blocks.data()) + (part * kKvBlock + sink_tokens()) * token_bytes;
      for (int64_t moved = 0; moved < keep; moved += by) {  // in pieces that do not overlap
        context_.lane.Copy(to + moved * token_bytes, to + (moved + by) * token_bytes,
                           std::min(by, keep - moved) * token_bytes, "compact");
      }
    }
  }
  first_recent_ = first;
}

void StreamingCache::Keep(Lane& lane, const LayerAttention& a) {
  Layer& layer = layers_[a.layer];
  const int64_t sinks = std::clamp<int64_t>(sink_tokens() - tokens_, 0, rows_);
  for (int64_t row = 0; row < sinks; ++row) {
    const auto keep = [&](const TensorView& to, const TensorView& from) {
      lane.Copy(to.Slice(0, tokens_ + row, tokens_ + row + 1).data(), from.Slice(0, row, row + 1).data(),
                to.Slice(0, 0, 1).bytes(), "keep");
    };
    keep(layer.sink_keys, a.k);
    keep(layer.sink_values, a.v);
    layer.sinks_turned_by = -1;
  }
  if (sinks == rows_) return;
  KvAppend(lane, {a.k.Slice(0, sinks, rows_), a.v.Slice(0, sinks, rows_),
                  sink_tokens() + tokens_ + sinks - first_recent_, layer.kv});
}

void StreamingCache::TurnSinks(Lane& lane, Layer& layer, int64_t by) {
  if (layer.sinks_turned_by == by) return;
  // Turning alone: whatever else RoPE's tables scale by, the keys have already.
  RopeTable(lane, {context_.positions.Slice(0, by, by + 1), context_.inverse_frequency, 1.0f, cos_, sin_});
  lane.Copy(turned_.data(), layer.sink_keys.data(), layer.sink_keys.bytes(), "gather");
  Rope(lane, {turned_, cos_, sin_});
  KvAppend(lane,
           {turned_.Reshape({sink_tokens(), layer.kv.kv_heads, layer.kv.head_dim()}), layer.sink_values, 0, layer.kv});
  layer.sinks_turned_by = by;
}

void StreamingCache::Attend(Lane& lane, const LayerAttention& a) {
  TF_CHECK(a.q.dim(0) == rows_, "{} rows of {}", a.q.dim(0), rows_);
  Keep(lane, a);
  for (int64_t row = 0; row < rows_; ++row) AttendRow(lane, a, row);
}

void StreamingCache::AttendRow(Lane& lane, const LayerAttention& a, int64_t row) {
  Layer& layer = layers_[a.layer];
  const int64_t token = tokens_ + row, first = std::max(first_recent_, WindowBehind(token)), heads = layer.kv.kv_heads;
  TurnSinks(lane, layer, first - sink_tokens());
  const int64_t window = (first - first_recent_) / kKeyTile;
  const KvView kv{layer.kv.blocks, heads, 0, layer.tiles.Slice(0, window * heads, (window + 1) * heads)};
  const int64_t visible = std::min(token + 1, sink_tokens()) + std::max<int64_t>(0, token + 1 - first);
  SegmentedAttention(lane, context_.memory,
                     {.q = a.q.Slice(0, row, row + 1), .kv = {}, .visible = visible, .causal = false, .scale = scale_},
                     a.out.Slice(0, row, row + 1))
      .Take(kv, true);
}

}  // namespace triforce
