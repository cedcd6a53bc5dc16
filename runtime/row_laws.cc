#include "runtime/row_laws.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "kernels/core/check.h"
#include "kernels/core/device.h"
#include "kernels/ops/argmax.h"
#include "runtime/distribution.h"

namespace triforce {

RowLaws::RowLaws(Lane& lane, int64_t vocab, const SamplingOptions& options, std::span<const TokenId> prompt,
                 int64_t context_tokens)
    : lane_(lane),
      vocab_(vocab),
      options_(options),
      penaliser_(lane, vocab, options),
      prompt_tokens_(static_cast<int64_t>(prompt.size())),
      history_(vocab) {
  Validate(options);
  CheckVocab(vocab);
  history_.AddPrompt(prompt);
  output_.reserve(std::max<int64_t>(0, context_tokens - prompt_tokens_) + kMostRows);
  const auto cut = [&](Arena& arena) {
    likeliest_ = arena.Cut(DType::kI32, {kMostRows});
    largest_ = arena.Cut(DType::kF32, {kMostRows});
  };
  Arena sizes;
  cut(sizes);
  arena_ = Arena(lane.device(), sizes.used_bytes(), "laws");
  cut(arena_);
}

void RowLaws::Set(int64_t position, std::span<const TokenId> tokens) {
  const int64_t of_prompt = std::clamp<int64_t>(prompt_tokens_ - position, 0, static_cast<int64_t>(tokens.size()));
  const int64_t keep = std::max<int64_t>(0, position - prompt_tokens_);
  TF_CHECK(keep <= static_cast<int64_t>(output_.size()), "{} behind {}", position, output_.size());
  while (static_cast<int64_t>(output_.size()) > keep) {
    history_.RemoveOutput(output_.back());
    output_.pop_back();
  }
  for (const TokenId token : tokens.subspan(of_prompt)) {
    output_.push_back(token);
    history_.AddOutput(token);
  }
}

// Row by row, each with the output up to itself.
void RowLaws::Penalise(const TensorView& logits) {
  const int64_t rows = logits.dim(0), size = static_cast<int64_t>(output_.size());
  const auto output_of = [&](int64_t row) { return std::max<int64_t>(0, size - (rows - 1 - row)); };
  for (int64_t i = size; i > output_of(0); --i) history_.RemoveOutput(output_[i - 1]);
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t i = output_of(std::max<int64_t>(0, row - 1)); i < output_of(row); ++i) history_.AddOutput(output_[i]);
    penaliser_.Apply(logits.Slice(0, row, row + 1), history_);
    lane_.Synchronize();
  }
}

void RowLaws::WriteGreedy(const TensorView& logits, std::span<float> laws) {
  const int64_t rows = logits.dim(0);
  std::array<int32_t, kMostRows> tokens;
  std::array<float, kMostRows> logits_of;
  const TensorView likeliest = likeliest_.Slice(0, 0, rows), largest = largest_.Slice(0, 0, rows);
  Argmax(lane_, {logits, likeliest, largest});
  lane_.Copy(tokens.data(), likeliest.data(), likeliest.bytes(), "tokens");
  lane_.Copy(logits_of.data(), largest.data(), largest.bytes(), "logits");
  lane_.Synchronize();
  std::fill(laws.begin(), laws.end(), 0.0f);
  for (int64_t row = 0; row < rows; ++row) {
    if (!std::isfinite(logits_of[row])) ThrowNotFinite();
    laws[row * vocab_ + tokens[row]] = 1;
  }
}

void RowLaws::Write(const TensorView& logits, std::span<float> laws) {
  const int64_t rows = logits.dim(0);
  TF_CHECK(rows <= kMostRows && logits.dim(1) == vocab_ && static_cast<int64_t>(laws.size()) == rows * vocab_,
           "{} for {} weights", logits.ToString(), laws.size());
  if (options_.penalises()) Penalise(logits);
  if (options_.greedy()) return WriteGreedy(logits, laws);
  FilteredSoftmax(lane_, {logits, options_.filter, logits});
  lane_.Copy(laws.data(), logits.data(), logits.bytes(), "laws");
  lane_.Synchronize();
  for (int64_t row = 0; row < rows; ++row) {
    if (!Distribution::Valid(laws.subspan(row * vocab_, vocab_))) ThrowNotFinite();
  }
}

}  // namespace triforce
