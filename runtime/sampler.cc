#include "runtime/sampler.h"

#include <fmt/core.h>

#include <cmath>

#include "kernels/core/check.h"
#include "kernels/core/error.h"
#include "kernels/ops/argmax.h"
#include "kernels/ops/categorical.h"
#include "kernels/ops/penalties.h"

namespace triforce {
namespace {

void CheckRange(const char* name, double value, bool good, const char* range) {
  if (good) return;
  throw Error(ErrorKind::kUsage, name, fmt::format("found {}, expected {}", value, range));
}

}  // namespace

void Validate(const SamplingOptions& o) {
  const SamplingFilter& f = o.filter;
  CheckRange("--temp", f.temperature, f.temperature >= 0 && std::isfinite(f.temperature), "0 (greedy) or more");
  CheckRange("--top-k", f.top_k, f.top_k >= 0, "0 (off) or more");
  CheckRange("--top-p", f.top_p, f.top_p > 0 && f.top_p <= 1, "more than 0, up to 1 (off)");
  CheckRange("--min-p", f.min_p, f.min_p >= 0 && f.min_p <= 1, "0 (off) to 1");
  CheckRange("--repeat-penalty", o.repetition_penalty, o.repetition_penalty > 0 && std::isfinite(o.repetition_penalty),
             "more than 0; 1 is off");
  CheckRange("--frequency-penalty", o.frequency_penalty, std::isfinite(o.frequency_penalty), "a number; 0 is off");
  CheckRange("--presence-penalty", o.presence_penalty, std::isfinite(o.presence_penalty), "a number; 0 is off");
}

TokenHistory::TokenHistory(int64_t vocab) : places_(vocab, -1) {
  tokens_.reserve(vocab);
  counts_.reserve(vocab);
}

int64_t TokenHistory::Find(TokenId token) {
  int32_t& place = places_[ToInt(token)];
  if (place < 0) {
    place = static_cast<int32_t>(tokens_.size());
    tokens_.push_back(ToInt(token));
    counts_.push_back(0);
  }
  return place;
}

void TokenHistory::AddPrompt(std::span<const TokenId> tokens) {
  for (TokenId token : tokens) Find(token);
}

void TokenHistory::AddOutput(TokenId token) { ++counts_[Find(token)]; }

Sampler::Sampler(Lane& lane, int64_t vocab, const SamplingOptions& options) : lane_(lane), options_(options) {
  Validate(options);
  if (vocab > kMaxVocab) {
    throw Error(ErrorKind::kUnsupported, "vocabulary",
                fmt::format("found {} tokens, expected at most {}", vocab, kMaxVocab));
  }
  const auto cut = [&](Arena& arena) {
    random_bits_ = arena.Cut(DType::kI32, {1, 2});
    token_ = arena.Cut(DType::kI32, {1});
    seen_ = arena.Cut(DType::kI32, {vocab});
    counts_ = arena.Cut(DType::kI32, {vocab});
  };
  Arena sizes;
  cut(sizes);
  arena_ = Arena(lane.device(), sizes.used_bytes(), "the sampler");
  cut(arena_);
}

void Sampler::Penalise(const TensorView& logits, const TokenHistory& history) {
  const int64_t n = static_cast<int64_t>(history.tokens().size());
  if (n == 0 || !options_.penalises()) return;
  const TensorView seen = seen_.Slice(0, 0, n), counts = counts_.Slice(0, 0, n);
  lane_.Copy(seen.data(), history.tokens().data(), seen.bytes(), "history");
  lane_.Copy(counts.data(), history.output_counts().data(), counts.bytes(), "history");
  Penalties(lane_, {.logits = logits.Reshape({logits.dim(1)}),
                    .tokens = seen,
                    .output_counts = counts,
                    .repetition = options_.repetition_penalty,
                    .frequency = options_.frequency_penalty,
                    .presence = options_.presence_penalty});
}

TokenId Sampler::Sample(const TensorView& logits, const TokenHistory& history, const RandomCounter& counter) {
  TF_CHECK(logits.rank() == 2 && logits.dim(0) == 1 && logits.dim(1) == seen_.dim(0), "{}", logits.ToString());
  Penalise(logits, history);
  const bool greedy = options_.filter.temperature == 0;
  const uint64_t bits = RandomBits(options_.seed, counter);
  float largest = 0;
  int32_t token = 0;
  if (greedy) {
    Argmax(lane_, {logits, token_});
  } else {
    lane_.Copy(random_bits_.data(), &bits, sizeof(bits), "random_bits");
    FilteredSoftmax(lane_, {logits, options_.filter, logits});
    Categorical(lane_, {logits, random_bits_, token_});
  }
  lane_.Copy(&token, token_.data(), sizeof(token), "token");
  lane_.Synchronize();
  if (greedy) {
    lane_.Copy(&largest, logits.as<float>() + token, sizeof(largest), "logit");
    lane_.Synchronize();
  }
  if (token < 0 || !std::isfinite(largest)) {
    throw Error(ErrorKind::kUnsupported, "logits", "the model gives logits that are not finite",
                "Keys or values may pass the range of f16: try --kv-type bf16 or f32.");
  }
  return TokenId{token};
}

}  // namespace triforce
