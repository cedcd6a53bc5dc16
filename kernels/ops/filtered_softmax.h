// FilteredSoftmax: from logits to the distribution that tokens are drawn from.
#pragma once

#include <cstdint>

#include "kernels/core/lane.h"
#include "kernels/core/tensor.h"

namespace triforce {

// Filters, applied in this order, each to what the one before has left; as transformers' logits warpers.
struct SamplingFilter {
  // Divides the logits' distances from the largest, so that no value above 0 is too small; 0: all probability on the
  // largest (the lowest id among equals).
  float temperature = 1.0f;
  int32_t top_k = 0;   // keeps the k largest and all that equal the k-th; 0: off
  float top_p = 1.0f;  // keeps the fewest, largest first and lowest id first among equals, whose sum reaches top_p
  float min_p = 0.0f;  // keeps those at least min_p times as likely as the likeliest
};

inline constexpr int64_t kMaxVocab = int64_t{1} << 18;

struct FilteredSoftmaxArgs {
  TensorView logits;  // f32 [rows, vocab], rows dense; -infinity allowed, one finite value a row at least
  SamplingFilter filter;
  TensorView probabilities;  // f32 [rows, vocab], rows dense; written; may be `logits`
};

// Queues probabilities = the filtered softmax of each row: exactly 0 for what is filtered out, the rest summing to 1.
// A row with NaN or +infinity gives NaN or nonsense, and no harm besides: Categorical tells. REQUIRES: shapes as said;
// vocab <= kMaxVocab; temperature >= 0, top_k >= 0, 0 < top_p <= 1, 0 <= min_p <= 1.
void FilteredSoftmax(Lane& lane, const FilteredSoftmaxArgs& args);

// The same by a full sort, on the calling thread. For tests.
void FilteredSoftmaxReference(const FilteredSoftmaxArgs& args);

}  // namespace triforce
