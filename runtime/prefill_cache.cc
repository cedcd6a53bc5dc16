#include "runtime/prefill_cache.h"

#include "kernels/core/check.h"
#include "kernels/ops/attention.h"
#include "kernels/ops/chunk_means.h"
#include "kernels/ops/chunk_ranking.h"
#include "kernels/ops/chunk_scores.h"
#include "kernels/ops/kv_append.h"

namespace triforce {

PrefillCache::PrefillCache(Device& device, const Plan& plan, float scale)
    : scale_(scale), kv_heads_(plan.shard.kv_heads), chunk_tokens_(plan.input.options.chunk_tokens) {
  Arena sizes;
  Cut(plan, sizes);
  arena_ = Arena(device, sizes.used_bytes(), "the KV of a layer in prefill");
  Cut(plan, arena_);
}

void PrefillCache::Cut(const Plan& plan, Arena& arena) {
  const int64_t blocks = KvBlocks(plan.input.context_tokens), head_dim = plan.shard.head_dim;
  const int64_t chunks = blocks * (kKvBlock / plan.input.options.chunk_tokens);
  kv_ = {arena.Cut(plan.input.kv_type, {blocks * kv_heads_, 2, kKvBlock * head_dim}), kv_heads_, 0};
  means_ = arena.Cut(DType::kF32, {kv_heads_, chunks, head_dim});
  scores_ = arena.Cut(DType::kF32, {kv_heads_, chunks});
  order_ = arena.Cut(DType::kI32, {kv_heads_, chunks});
}

void PrefillCache::Begin(KvStore& store, Ring* ring, RetrievalIndex* index, int64_t tokens) {
  store_ = &store;
  ring_ = ring;
  index_ = index;
  tokens_ = tokens;
  store.BeginPrompt(tokens);
}

void PrefillCache::Attend(Lane& lane, const LayerAttention& a) {
  const int64_t rows = a.q.dim(0);
  TF_CHECK(appended_ + rows <= tokens_, "{} rows behind {} of {}", rows, appended_, tokens_);
  KvAppend(lane, {a.k, a.v, appended_, kv_});
  AttentionPrefill(lane, {.q = a.q, .kv = kv_, .visible = appended_ + 1, .causal = true, .scale = scale_}, a.out);
  appended_ += rows;
  if (appended_ == tokens_) RankAndPlace(lane, a);
}

void PrefillCache::RankAndPlace(Lane& lane, const LayerAttention& a) {
  const int64_t ranked = RankedChunks(tokens_, chunk_tokens_), rows = a.q.dim(0);
  const TensorView last_query = a.q.Slice(0, rows - 1, rows).Reshape({a.q.dim(1), a.q.dim(2)});
  ChunkMeans(lane, {.kv = kv_, .first = 0, .end = ranked, .means = means_, .chunk_tokens = chunk_tokens_});
  ChunkScores(lane, {last_query, means_, ranked, scores_});
  ChunkRanking(lane, {scores_, ranked, order_});
  store_->Place(lane, ring_, a.layer, kv_, order_);
  if (index_ == nullptr) return;
  index_->TakeRanks(lane, a.layer, means_, order_);
  index_->Keep(lane, a.layer, a.q, tokens_ - rows);
  if (index_->weighs()) index_->WeighPrompt(lane, a.layer, a.q, kv_, order_);
}

}  // namespace triforce
