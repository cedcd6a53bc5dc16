// SamplingOptions: what is done to a model's logits before a token is drawn.
//
// Order, as in transformers: repetition, frequency and presence penalty; temperature; top-k; top-p; min-p; draw.
#pragma once

#include <cstdint>

#include "kernels/ops/filtered_softmax.h"

namespace triforce {

struct SamplingOptions {
  SamplingFilter filter;  // temperature (0: greedy), top_k, top_p, min_p
  // Divides positive and multiplies negative logits of tokens in the prompt or the output (transformers). 1: off; .001
  // to 1000.
  float repetition_penalty = 1.0f;
  // Subtracted from the logits of tokens in the output, times their count, and once (OpenAI). 0: off; -1000 to 1000.
  float frequency_penalty = 0.0f;
  float presence_penalty = 0.0f;
  uint64_t seed = 0;

  bool greedy() const { return filter.temperature == 0; }
  bool penalises() const { return repetition_penalty != 1 || frequency_penalty != 0 || presence_penalty != 0; }
};

// Throws Error (kUsage) that names the option, its value and its range, where one is out of it.
void Validate(const SamplingOptions& options);
// Throws Error (kUnsupported) where the ops cannot filter so large a vocabulary.
void CheckVocab(int64_t vocab);

// What is thrown where logits are not finite.
[[noreturn]] void ThrowNotFinite();

}  // namespace triforce
