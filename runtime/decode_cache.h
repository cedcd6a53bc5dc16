// DecodeCache: attention of decoding passes over a KvStore: the resident part, the streamed part as its slots arrive,
// and the tail, merged in storage order. The pass' own keys and values go to the tail.
#pragma once

#include "kernels/core/lane.h"
#include "models/llama.h"
#include "offload/kv_store.h"
#include "offload/retrieval_index.h"
#include "offload/ring.h"
#include "runtime/segmented_attention.h"

namespace triforce {

class DecodeCache final : public AttentionCache {
 public:
  // `ring` may be null where nothing is streamed. All outlive this.
  // `index` may be null; otherwise it keeps the queries of the passes.
  DecodeCache(const AttentionMemory& memory, KvStore& store, Ring* ring, RetrievalIndex* index, float scale)
      : memory_(memory), store_(store), ring_(ring), index_(index), scale_(scale) {}

  // REQUIRES: the tail has room for the rows.
  void Attend(Lane& lane, const LayerAttention& a) override;

 private:
  const AttentionMemory memory_;
  KvStore& store_;
  Ring* const ring_;
  RetrievalIndex* const index_;
  const float scale_;
};

}  // namespace triforce
