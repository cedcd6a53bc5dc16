// DecodeCache: attention of decoding passes over a KvStore: the resident part, the streamed part as its slots arrive,
// and the tail, merged in storage order. The pass' own keys and values go to the tail.
#pragma once

#include <cstdint>

#include "kernels/core/lane.h"
#include "kernels/ops/attention.h"
#include "models/llama.h"
#include "offload/kv_store.h"
#include "offload/ring.h"

namespace triforce {

// Memory of an attention that goes view by view. Shared by all passes of a lane, one after another.
struct AttentionMemory {
  TensorView partials;  // f32 [any]: for as many entries at a time as it holds; one, at least
  TensorView max;       // f32 [rows, heads], for the largest pass
  TensorView sum;       // f32 [rows, heads]
};

class DecodeCache final : public AttentionCache {
 public:
  // `ring` may be null where nothing is streamed. All outlive this.
  DecodeCache(const AttentionMemory& memory, KvStore& store, Ring* ring, float scale)
      : memory_(memory), store_(store), ring_(ring), scale_(scale) {}

  // REQUIRES: the tail has room for the rows.
  void Attend(Lane& lane, const LayerAttention& a) override;

 private:
  void Take(Lane& lane, const AttentionArgs& args, const AttentionState& state, bool first, bool last) const;

  const AttentionMemory memory_;
  KvStore& store_;
  Ring* const ring_;
  const float scale_;
};

}  // namespace triforce
