// Penaliser: lowers the logits of a row by what its history holds (kernels/ops/penalties.h). For one lane; not
// thread-safe; its memory is taken once.
#pragma once

#include "kernels/core/arena.h"
#include "kernels/core/lane.h"
#include "kernels/core/tensor.h"
#include "runtime/sampling_options.h"
#include "runtime/token_history.h"

namespace triforce {

class Penaliser {
 public:
  // Throws Error (kOutOfMemory).
  Penaliser(Lane& lane, int64_t vocab, const SamplingOptions& options);

  // Queues the penalties on `logits` (f32 [1, vocab]). `history` may change once the lane has come to it. Nothing where
  // the options have no penalties.
  void Apply(const TensorView& logits, const TokenHistory& history);

 private:
  Lane& lane_;
  const SamplingOptions options_;
  Arena arena_;
  TensorView seen_;    // i32 [vocab]
  TensorView counts_;  // i32 [vocab]
};

}  // namespace triforce
