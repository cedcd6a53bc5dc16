#include "runtime/streaming_cache.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/core/check.h"
#include "kernels/core/device.h"
#include "kernels/ops/kv_append.h"
#include "offload/draft_plan.h"
#include "offload/plan_sizes.h"

namespace triforce {
namespace {

constexpr int64_t TilesBefore(int64_t tokens) { return tokens < 0 ? 0 : tokens / kKeyTile * kKeyTile; }

}  // namespace

StreamingCache::StreamingCache(const StreamingCacheContext& context)
    : context_(context),
      scale_(1 / std::sqrt(static_cast<float>(context.draft.shape.head_dim))),
      began_at_(context.draft.sink_tokens),
      first_recent_(context.draft.sink_tokens) {
  // A pass that begins among the sinks stays in the first window, so that none is turned before it is kept.
  TF_CHECK(sink_tokens() % kKeyTile == 0 && context.draft.cache_tokens >= kDraftRows &&
               recent_tokens() + kDraftRollback + kKeyTile + kDraftRows <= RecentPlaces(),
           "{} and {}", sink_tokens(), context.draft.cache_tokens);
  Arena sizes;
  Cut(sizes);
  arena_ = Arena(context.lane.device(), sizes.used_bytes(), "the draft's cache");
  Cut(arena_);
  const std::vector<int64_t> nothing(turned_.elements(), -1);
  context.lane.Copy(turned_.data(), nothing.data(), turned_.bytes(), "load");
  context.lane.Synchronize();
}

void StreamingCache::Cut(Arena& arena) {
  const ModelShape& s = context_.draft.shape;
  blocks_ = arena.Cut(context_.kv_type, {s.layers * s.kv_heads, 2, kKvBlock * s.head_dim});
  sinks_ = arena.Cut(DType::kF32, {s.layers, 2, sink_tokens() * s.kv_heads, s.head_dim});
  turned_ = arena.Cut(DType::kI64, {s.layers, s.kv_heads, 2});
  tiles_ = arena.Cut(DType::kI64, {s.layers, kDraftRows, s.kv_heads, kBlockTiles});
  of_rows_ = arena.Cut(DType::kI64, {kDraftRows, 2});
}

KvView StreamingCache::LayerKv(int64_t layer) const {
  const int64_t heads = context_.draft.shape.kv_heads;
  return {blocks_.Slice(0, layer * heads, (layer + 1) * heads), heads, 0};
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

WindowOfRow StreamingCache::Window(int64_t row) const {
  return WindowOf(tokens_ + row, first_recent_, sink_tokens(), recent_tokens());
}

void StreamingCache::Begin(int64_t rows) {
  TF_CHECK(rows <= kDraftRows, "{} rows", rows);
  rows_ = rows;
  base_ = {};
  offset_ = 0;
  if (tokens_ + rows - first_recent_ > RecentPlaces()) Compact();
  for (prepared_ = 1; prepared_ < rows && Window(prepared_).window <= Window(0).window + 1; ++prepared_) {
  }
  MoveWindow(0, context_.draft.shape.layers, 0, prepared_);
}

bool StreamingCache::Reserve(int64_t tokens) {
  if (tokens_ < sink_tokens()) return false;
  if (tokens_ + tokens - first_recent_ > RecentPlaces()) Compact();
  return tokens_ + tokens - first_recent_ <= RecentPlaces();
}

void StreamingCache::BeginCaptured(const TensorView& base, int64_t offset, int64_t rows) {
  TF_CHECK(rows >= 1 && rows <= kCapturedRows, "{} rows", rows);
  rows_ = prepared_ = rows;
  base_ = base;
  offset_ = offset;
  MoveWindow(0, context_.draft.shape.layers, 0, rows);
}

void StreamingCache::Take(int64_t tokens) {
  TF_CHECK(tokens >= tokens_ && tokens - first_recent_ <= RecentPlaces(), "{} behind {}", tokens, tokens_);
  tokens_ = tokens;
}

void StreamingCache::MoveWindow(int64_t layer, int64_t layer_end, int64_t row, int64_t row_end) {
  const int64_t heads = context_.draft.shape.kv_heads;
  StreamingWindow(context_.lane, {.sinks = sinks_.Slice(0, layer, layer_end),
                                  .inverse_frequency = context_.inverse_frequency,
                                  .turned = turned_.Slice(0, layer, layer_end),
                                  .blocks = blocks_.Slice(0, layer * heads, layer_end * heads),
                                  .recent = recent_tokens(),
                                  .token = (base_ ? offset_ : tokens_) + row,
                                  .first = base_ ? 0 : first_recent_,
                                  .base = base_,
                                  .tiles = tiles_.Slice(0, layer, layer_end).Slice(1, row, row_end),
                                  .rows = of_rows_.Slice(0, row, row_end)});
}

// Moves what may still be attended to to the front.
void StreamingCache::Compact() {
  const ModelShape& s = context_.draft.shape;
  const int64_t first =
      std::max(first_recent_, sink_tokens() + TilesBefore(tokens_ - recent_tokens() - kDraftRollback - sink_tokens()));
  const int64_t by = first - first_recent_, keep = (tokens_ - first + kKeyTile - 1) / kKeyTile * kKeyTile;
  if (by == 0) return;
  const int64_t token_bytes = s.head_dim * SizeOf(context_.kv_type);
  for (int64_t part = 0; part < 2 * s.layers * s.kv_heads; ++part) {  // keys and values of each layer's kv_heads
    auto* const to = static_cast<std::byte*>(blocks_.data()) + (part * kKvBlock + 2 * sink_tokens()) * token_bytes;
    for (int64_t moved = 0; moved < keep; moved += by) {  // in pieces that do not overlap
      context_.lane.Copy(to + moved * token_bytes, to + (moved + by) * token_bytes,
                         std::min(by, keep - moved) * token_bytes, "compact");
    }
  }
  first_recent_ = first;
}

void StreamingCache::Keep(Lane& lane, const LayerAttention& a) {
  const int64_t sinks = base_ ? 0 : std::clamp<int64_t>(sink_tokens() - tokens_, 0, rows_);
  const KvView kv = LayerKv(a.layer);
  const auto append = [&](int64_t begin, int64_t end) {
    if (begin == end) return;
    KvAppend(lane, {a.k.Slice(0, begin, end), a.v.Slice(0, begin, end), 0, kv,
                    of_rows_.Slice(0, begin, begin + 1).Slice(1, 1, 2)});
  };
  const TensorView kept = sinks_.Slice(0, a.layer, a.layer + 1);
  for (int64_t row = 0; row < sinks; ++row) {
    const int64_t first = (tokens_ + row) * kv.kv_heads;
    const auto keep = [&](const TensorView& all, const TensorView& from) {
      const TensorView to = all.Slice(2, first, first + kv.kv_heads);
      lane.Copy(to.data(), from.Slice(0, row, row + 1).data(), to.bytes(), "keep");
    };
    keep(kept.Slice(1, 0, 1), a.k);
    keep(kept.Slice(1, 1, 2), a.v);
  }
  append(0, sinks);
  append(sinks, rows_);
}

void StreamingCache::Attend(Lane& lane, const LayerAttention& a) {
  TF_CHECK(a.q.dim(0) == rows_, "{} rows of {}", a.q.dim(0), rows_);
  Keep(lane, a);
  for (int64_t row = 0, prepared = prepared_; row < rows_; ++row) {
    if (row == prepared) {  // a third window, and so on: the first one's copy of the sinks is free now
      for (; prepared < rows_ && Window(prepared).window == Window(row).window; ++prepared) {
      }
      MoveWindow(a.layer, a.layer + 1, row, prepared);
    }
    AttendRow(lane, a, row);
  }
}

void StreamingCache::AttendRow(Lane& lane, const LayerAttention& a, int64_t row) {
  KvView kv = LayerKv(a.layer);
  kv.tiles = tiles_.Slice(0, a.layer, a.layer + 1).Slice(1, row, row + 1).Reshape({kv.kv_heads, kBlockTiles});
  SegmentedAttention(lane, context_.memory,
                     {.q = a.q.Slice(0, row, row + 1),
                      .kv = {},
                      .visible = 0,
                      .causal = false,
                      .scale = scale_,
                      .base = of_rows_.Slice(0, row, row + 1).Slice(1, 0, 1)},
                     a.out.Slice(0, row, row + 1))
      .Take(kv, true);
}

}  // namespace triforce
