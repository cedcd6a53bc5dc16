// SegmentedAttention: the attention of one pass in one layer over a KV that comes in segments, merged in storage order.
#pragma once

#include "kernels/core/lane.h"
#include "kernels/ops/attention.h"

namespace triforce {

// Memory of such an attention. Shared by all passes of a lane, one after another.
struct AttentionMemory {
  TensorView partials;  // f32 [any]: for as many entries at a time as it holds; one, at least
  TensorView max;       // f32 [rows, heads], for the largest pass
  TensorView sum;       // f32 [rows, heads]
};

class SegmentedAttention {
 public:
  // `args`: without a KV. `out`: f32 [rows, heads, head_dim], a row dense; written.
  SegmentedAttention(Lane& lane, const AttentionMemory& memory, const AttentionArgs& args, const TensorView& out);

  // Queues the next segment; behind the last one `out` is the attention. Segments come in storage order.
  void Take(const KvView& kv, bool last);

 private:
  Lane& lane_;
  const AttentionMemory& memory_;
  AttentionArgs args_;
  AttentionState state_;
  bool first_ = true;
};

}  // namespace triforce
