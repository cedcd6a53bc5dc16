// Sampler: from logits to a token, with penalties and filters (sampling_options.h). Greedy where the temperature is 0.
//
// One Sampler serves one lane; not thread-safe. Its buffers are made once.
#pragma once

#include <cstdint>

#include "kernels/core/arena.h"
#include "kernels/core/device.h"
#include "kernels/core/random.h"
#include "kernels/core/tensor.h"
#include "models/token_id.h"
#include "runtime/penaliser.h"
#include "runtime/sampling_options.h"
#include "runtime/token_history.h"

namespace triforce {

class Sampler {
 public:
  // Throws Error (kOutOfMemory, kUsage, kUnsupported).
  Sampler(Lane& lane, int64_t vocab, const SamplingOptions& options);

  const SamplingOptions& options() const { return options_; }

  // The token drawn for `counter` from `logits` (f32 [1, vocab], on the lane's device; overwritten). Waits for the
  // lane. Throws Error where the logits are not finite.
  TokenId Sample(const TensorView& logits, const TokenHistory& history, const RandomCounter& counter);

 private:
  Lane& lane_;
  const SamplingOptions options_;
  const int64_t vocab_;
  Penaliser penaliser_;
  Arena arena_;
  TensorView random_bits_;  // i32 [1, 2]
  TensorView token_;        // i32 [1]
  TensorView largest_;      // f32 [1]: where it is greedy, the token's logit
};

}  // namespace triforce
