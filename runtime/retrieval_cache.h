// RetrievalCache: attention of retrieval passes: over the chunks that a RetrievalIndex has chosen, and the newest
// tokens.
//
// A pass' own keys and values go to the store's tail, behind the tokens that the store has: a verify pass of the same
// tokens writes over them.
#pragma once

#include <cstdint>

#include "kernels/core/lane.h"
#include "models/llama.h"
#include "offload/kv_store.h"
#include "offload/retrieval_index.h"
#include "runtime/segmented_attention.h"

namespace triforce {

class RetrievalCache final : public AttentionCache {
 public:
  // All outlive this.
  RetrievalCache(const AttentionMemory& memory, const KvStore& store, RetrievalIndex& index, float scale)
      : memory_(memory), store_(store), index_(index), scale_(scale) {}

  // Where the next pass' first row stands.
  void set_position(int64_t position) { position_ = position, base_ = {}; }
  // Of a pass that is captured, `base` says it when it runs: i64 [2] on the device, the position, and what
  // RetrievalIndex::VisibleTo gives for it; no row may see more than `most_visible` keys.
  void set_base(const TensorView& base, int64_t most_visible) { base_ = base, most_visible_ = most_visible; }
  // Each row's chunks are chosen by its own attention, layer by layer (Middle::kOracle).
  void set_oracle(bool oracle) { oracle_ = oracle; }
  // REQUIRES: the tail has room for the rows, and the index holds for them.
  void Attend(Lane& lane, const LayerAttention& a) override;

 private:
  const AttentionMemory memory_;
  const KvStore& store_;
  RetrievalIndex& index_;
  const float scale_;
  int64_t position_ = 0;
  TensorView base_;
  int64_t most_visible_ = 0;
  bool oracle_ = false;
};

}  // namespace triforce
