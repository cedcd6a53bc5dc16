// Distribution: the law of the next token, as weights over the vocabulary.
//
// Weights need not sum to one: a probability is weight / mass, in double, so that laws are exact whatever rounding has
// done to the weights. A point is a law with all of it on one token, and no weights.
//
// A view: the weights are those of whoever made them. Copied freely.
#pragma once

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

 private:
  Distribution() = default;

  std::span<const float> weights_;  // empty: a point
  double mass_ = 1;
  TokenId point_{};
};

}  // namespace triforce
