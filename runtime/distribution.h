// Distribution: the law of the next token, as weights over the vocabulary.
//
// Weights need not sum to one: a probability is weight / mass, in double, so that laws are exact whatever rounding has
// done to the weights. A point is a law with all of it on one token, and no weights.
//
// A view: the weights are those of whoever made them. Copied freely.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>

#include "models/token_id.h"

namespace triforce {

class Distribution {
 public:
  // REQUIRES: no weight negative; their sum positive and finite.
  explicit Distribution(std::span<const float> weights);
  static Distribution Point(TokenId token);

  double probability(TokenId token) const {
    if (weights_.empty()) return token == point_ ? 1 : 0;
    return static_cast<double>(weights_[ToInt(token)]) / mass_;
  }

  // Where `weights` can make a law: their sum is positive and finite.
  static bool Valid(std::span<const float> weights);

  // Calls f(token, probability) for each token that is possible, by id. Takes little more time than there are of them:
  // filters leave some dozens of a vocabulary.
  template <typename F>
  void ForEachPossible(const F& f) const {
    if (weights_.empty()) return f(point_, 1.0);
    ForEachNonzero(weights_, [&](int32_t id, float weight) { f(TokenId{id}, static_cast<double>(weight) / mass_); });
  }

 private:
  // Calls f(place, value) for each value that is not 0, in order.
  template <typename F>
  static void ForEachNonzero(std::span<const float> values, const F& f) {
    constexpr size_t kTogether = 16;  // looked at as one, in vectors
    size_t i = 0;
    for (; i + kTogether <= values.size(); i += kTogether) {
      uint32_t bits = 0;
      for (size_t j = 0; j < kTogether; ++j) bits |= std::bit_cast<uint32_t>(values[i + j]);
      if (bits << 1 == 0) continue;  // without signs
      for (size_t j = i; j < i + kTogether; ++j) {
        if (values[j] != 0) f(static_cast<int32_t>(j), values[j]);
      }
    }
    for (; i < values.size(); ++i) {
      if (values[i] != 0) f(static_cast<int32_t>(i), values[i]);
    }
  }
  static double Mass(std::span<const float> weights);

  Distribution() = default;

  std::span<const float> weights_;  // empty: a point
  double mass_ = 1;
  TokenId point_{};
};

}  // namespace triforce
