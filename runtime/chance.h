// Chance: the decisions that speculative decoding leaves to chance.
//
// An interface, so that a test can walk all of them with their weights instead of drawing some.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/core/random.h"
#include "models/token_id.h"
#include "runtime/distribution.h"

namespace triforce {

struct WeightedToken {
  TokenId token{};
  double weight = 0;
};

class Chance {
 public:
  virtual ~Chance() = default;
  // True with `probability`; at 1 or more always, at 0 never.
  virtual bool Happens(double probability, const RandomCounter& counter) = 0;
  // One of the tokens, with a probability in proportion to its weight. REQUIRES: one at least; weights are positive.
  virtual TokenId Draw(std::span<const WeightedToken> tokens, const RandomCounter& counter) = 0;
};

// A token of the law. `room` is overwritten.
TokenId DrawFrom(const Distribution& law, Chance& chance, const RandomCounter& counter,
                 std::vector<WeightedToken>& room);

// By the counter-based generator: each decision a function of the seed and of what it is for.
class SeededChance final : public Chance {
 public:
  explicit SeededChance(uint64_t seed) : seed_(seed) {}
  bool Happens(double probability, const RandomCounter& counter) override;
  TokenId Draw(std::span<const WeightedToken> tokens, const RandomCounter& counter) override;

 private:
  const uint64_t seed_;
};

}  // namespace triforce
