// Chance: the decisions that speculative decoding leaves to chance.
//
// An interface, so that a test can walk all of them with their weights instead of drawing some.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "models/token_id.h"
#include "runtime/distribution.h"
#include "kernels/core/random.h"

namespace triforce {

class Chance {
 public:
  virtual ~Chance() = default;
  // True with `probability`; at 1 or more always, at 0 never.
  virtual bool Happens(double probability, const RandomCounter& counter) = 0;
  // A token with a probability in proportion to its weight. REQUIRES: no weight negative, one positive.
  virtual TokenId Draw(std::span<const double> weights, const RandomCounter& counter) = 0;
};

// A token of the law. `weights`: room for the vocabulary; overwritten.
TokenId DrawFrom(const Distribution& law, Chance& chance, const RandomCounter& counter, std::vector<double>& weights);

// By the counter-based generator: each decision a function of the seed and of what it is for.
class SeededChance final : public Chance {
 public:
  explicit SeededChance(uint64_t seed) : seed_(seed) {}
  bool Happens(double probability, const RandomCounter& counter) override;
  TokenId Draw(std::span<const double> weights, const RandomCounter& counter) override;

 private:
  const uint64_t seed_;
};

}  // namespace triforce
