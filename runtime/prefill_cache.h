// PrefillCache: attention of layer-major prefill: one layer's KV in token order while it is made, then ranked and put
// into its places.
#pragma once

#include <cstdint>

#include "kernels/core/arena.h"
#include "kernels/core/lane.h"
#include "kernels/ops/kv_view.h"
#include "models/llama.h"
#include "offload/kv_store.h"
#include "offload/plan.h"
#include "offload/retrieval_index.h"
#include "offload/ring.h"

namespace triforce {

class PrefillCache final : public AttentionCache {
 public:
  // Takes the memory that the plan counts for it. Throws Error (kOutOfMemory).
  PrefillCache(Device& device, const Plan& plan, float scale);

  // Begins the prompt of `store`, of `tokens` tokens. `ring` may be null where nothing is streamed; it has no schedule.
  // `index` may be null; otherwise it takes the ranks.
  void Begin(KvStore& store, Ring* ring, RetrievalIndex* index, int64_t tokens);
  // Begins a layer: its rows come in order, in blocks.
  void BeginLayer() { appended_ = 0; }

  // With the last row of the layer the KV is ranked by that row's query and goes to its places.
  void Attend(Lane& lane, const LayerAttention& a) override;

 private:
  void Cut(const Plan& plan, Arena& arena);
  void RankAndPlace(Lane& lane, const LayerAttention& a);

  const float scale_;
  const int64_t kv_heads_;
  const int64_t chunk_tokens_;
  Arena arena_;
  KvView kv_;          // all of the context
  TensorView means_;   // f32 [kv_heads, chunks, head_dim]
  TensorView scores_;  // f32 [kv_heads, chunks]
  TensorView order_;   // i32 [kv_heads, chunks]
  KvStore* store_ = nullptr;
  Ring* ring_ = nullptr;
  RetrievalIndex* index_ = nullptr;
  int64_t tokens_ = 0;
  int64_t appended_ = 0;  // of the layer
};

}  // namespace triforce
