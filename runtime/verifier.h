// Verifier: a model with a cache, as levels see it: it has taken in some tokens of a sequence, takes in more, and says
// what the law behind them is.
#pragma once

#include <cstdint>
#include <span>

#include "kernels/core/check.h"
#include "kernels/core/random.h"
#include "models/token_id.h"
#include "runtime/proposer.h"

namespace triforce {

// What became of a round's proposals: so many were accepted, and behind them comes `next`.
struct Decided {
  int64_t accepted = 0;
  TokenId next{};
};

class Verifier {
 public:
  virtual ~Verifier() = default;

  virtual int64_t vocab() const = 0;
  // Tokens in the cache.
  virtual int64_t tokens() const = 0;
  // Forgets all but the first `tokens`, in its cache and wherever else it follows the sequence. REQUIRES: tokens <=
  // tokens().
  virtual void Rewind(int64_t tokens) = 0;
  // Takes in `tokens`, and writes the filtered law behind each of the last `laws.size() / vocab()` of them, as weights
  // (distribution.h). Throws Error where the model gives no law. REQUIRES: so many tokens.
  virtual void Run(std::span<const TokenId> tokens, std::span<float> laws) = 0;

  // Whether it has the laws of these proposals where its own are, and tests them there.
  virtual bool Decides(std::span<const Proposal> /*proposals*/) const { return false; }
  // Then, instead of Run: takes in `tokens`, whose last ones are the latest proposals, `proposals` of them, and decides
  // as Level does. Its draws take one counter each, `first` and those of the next indices.
  virtual Decided Decide(std::span<const TokenId> /*tokens*/, int64_t /*proposals*/, const RandomCounter& /*first*/) {
    TF_CHECK(false, "it does not decide");
  }
};

}  // namespace triforce
