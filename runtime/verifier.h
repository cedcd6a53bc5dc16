// Verifier: a model with a cache, as levels see it: it has taken in some tokens of a sequence, takes in more, and says
// what the law behind them is.
#pragma once

#include <cstdint>
#include <span>

#include "models/token_id.h"

namespace triforce {

class Verifier {
 public:
  virtual ~Verifier() = default;

  virtual int64_t vocab() const = 0;
  // Tokens in the cache.
  virtual int64_t tokens() const = 0;
  // Forgets all but the first `tokens`.
  virtual void Rewind(int64_t tokens) = 0;
  // Takes in `tokens`, and writes the filtered law behind each of the last `laws.size() / vocab()` of them, as weights
  // (distribution.h). Throws Error where the model gives no law. REQUIRES: so many tokens.
  virtual void Run(std::span<const TokenId> tokens, std::span<float> laws) = 0;
};

}  // namespace triforce
