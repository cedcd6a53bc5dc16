// RowLaws: from the logits of a pass' rows to the law of the next token behind each: penalties, each row with its own
// prefix, and filters (sampling_options.h). Greedy laws have all their weight on one token.
//
// For one sequence of one verifier; not thread-safe. Its memory is taken once.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/core/arena.h"
#include "kernels/core/lane.h"
#include "kernels/core/tensor.h"
#include "models/token_id.h"
#include "runtime/penaliser.h"
#include "runtime/sampling_options.h"
#include "runtime/token_history.h"

namespace triforce {

class RowLaws {
 public:
  static constexpr int64_t kMostRows = 64;

  // `prompt`: what penalties count as such. `context_tokens`: that the sequence may have. Throws Error.
  RowLaws(Lane& lane, int64_t vocab, const SamplingOptions& options, std::span<const TokenId> prompt,
          int64_t context_tokens);

  int64_t vocab() const { return vocab_; }
  // Of the sequence, as it was told; the prompt's at least.
  int64_t tokens() const { return prompt_tokens_ + static_cast<int64_t>(output_.size()); }

  // The sequence's tokens from `position` on are these; what it had there is forgotten. Within the prompt nothing
  // changes. REQUIRES: position <= tokens so far, or within the prompt.
  void Set(int64_t position, std::span<const TokenId> tokens);

  // Writes the laws behind the last rows of the sequence: `logits` (f32 [rows, vocab], overwritten) to weights on the
  // host, [rows, vocab]. Waits for the lane. Throws Error where logits are not finite.
  void Write(const TensorView& logits, std::span<float> laws);

 private:
  void Penalise(const TensorView& logits);
  void WriteGreedy(const TensorView& logits, std::span<float> laws);

  Lane& lane_;
  const int64_t vocab_;
  const SamplingOptions options_;
  Penaliser penaliser_;
  const int64_t prompt_tokens_;
  TokenHistory history_;
  std::vector<TokenId> output_;
  Arena arena_;
  TensorView likeliest_;  // i32 [kMostRows]
  TensorView largest_;    // f32 [kMostRows]: their logits
};

}  // namespace triforce
