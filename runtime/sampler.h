// Sampler: from logits to a token, with penalties and filters. Greedy where the temperature is 0.
//
// Order, as in transformers: repetition, frequency and presence penalty; temperature; top-k; top-p; min-p; draw.
// One Sampler serves one lane; not thread-safe. Its buffers are made once.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/core/arena.h"
#include "kernels/core/device.h"
#include "kernels/core/tensor.h"
#include "kernels/ops/filtered_softmax.h"
#include "models/token_id.h"
#include "runtime/random.h"

namespace triforce {

struct SamplingOptions {
  SamplingFilter filter;  // temperature, top_k, top_p, min_p
  // Divides positive and multiplies negative logits of tokens in the prompt or the output (transformers). 1: off.
  float repetition_penalty = 1.0f;
  // Subtracted from the logits of tokens in the output, times their count, and once (OpenAI). 0: off.
  float frequency_penalty = 0.0f;
  float presence_penalty = 0.0f;
  uint64_t seed = 0;

  bool penalises() const { return repetition_penalty != 1 || frequency_penalty != 0 || presence_penalty != 0; }
};

// Throws Error (kUsage) that names the option, its value and its range, where one is out of it.
void Validate(const SamplingOptions& options);

// The tokens that penalties look at. Adding and removing a token is O(1); so is a copy per distinct token.
class TokenHistory {
 public:
  explicit TokenHistory(int64_t vocab);
  void AddPrompt(std::span<const TokenId> tokens);
  void AddOutput(TokenId token);

  // Distinct tokens, in order of first appearance, and how often each is in the output.
  std::span<const int32_t> tokens() const { return tokens_; }
  std::span<const int32_t> output_counts() const { return counts_; }

 private:
  int64_t Find(TokenId token);   // its place in tokens_, made where it has none
  std::vector<int32_t> places_;  // [vocab], -1: not there
  std::vector<int32_t> tokens_;
  std::vector<int32_t> counts_;
};

class Sampler {
 public:
  // Throws Error (kOutOfMemory).
  Sampler(Lane& lane, int64_t vocab, const SamplingOptions& options);

  const SamplingOptions& options() const { return options_; }

  // The token drawn for `counter` from `logits` (f32 [1, vocab], on the lane's device; overwritten). Waits for the
  // lane. Throws Error where the logits are not finite.
  TokenId Sample(const TensorView& logits, const TokenHistory& history, const RandomCounter& counter);

 private:
  void Penalise(const TensorView& logits, const TokenHistory& history);

  Lane& lane_;
  const SamplingOptions options_;
  Arena arena_;
  TensorView random_bits_;  // i32 [1, 2]
  TensorView token_;        // i32 [1]
  TensorView seen_;         // i32 [vocab]
  TensorView counts_;       // i32 [vocab]
};

}  // namespace triforce
