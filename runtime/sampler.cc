#include "runtime/sampler.h"

#include <cmath>

#include "kernels/core/check.h"
#include "kernels/ops/argmax.h"
#include "kernels/ops/categorical.h"

namespace triforce {

Sampler::Sampler(Lane& lane, int64_t vocab, const SamplingOptions& options)
    : lane_(lane), options_(options), vocab_(vocab), penaliser_(lane, vocab, options) {
  Validate(options);
  CheckVocab(vocab);
  const auto cut = [&](Arena& arena) {
    random_bits_ = arena.Cut(DType::kI32, {1, 2});
    token_ = arena.Cut(DType::kI32, {1});
    largest_ = arena.Cut(DType::kF32, {1});
  };
  Arena sizes;
  cut(sizes);
  arena_ = Arena(lane.device(), sizes.used_bytes(), "the sampler");
  cut(arena_);
}

TokenId Sampler::Sample(const TensorView& logits, const TokenHistory& history, const RandomCounter& counter) {
  TF_CHECK(logits.rank() == 2 && logits.dim(0) == 1 && logits.dim(1) == vocab_, "{}", logits.ToString());
  penaliser_.Apply(logits, history);
  const uint64_t bits = RandomBits(options_.seed, counter);
  float largest = 0;
  int32_t token = 0;
  if (options_.greedy()) {
    Argmax(lane_, {logits, token_, largest_});
    lane_.Copy(&largest, largest_.data(), sizeof(largest), "logit");
  } else {
    lane_.Copy(random_bits_.data(), &bits, sizeof(bits), "random_bits");
    FilteredSoftmax(lane_, {logits, options_.filter, logits});
    Categorical(lane_, {logits, random_bits_, token_});
  }
  lane_.Copy(&token, token_.data(), sizeof(token), "token");
  lane_.Synchronize();
  if (token < 0 || !std::isfinite(largest)) ThrowNotFinite();
  return TokenId{token};
}

}  // namespace triforce
