// TokenLoss: the mean negative log-likelihood of tokens, in nats; its exponential is the perplexity.
#pragma once

#include <cstdint>
#include <span>

#include "models/token_id.h"

namespace triforce {

class TokenLoss {
 public:
  // `logits`: f32 [vocab], at the position before `token`. REQUIRES: token < vocab.
  void Add(std::span<const float> logits, TokenId token);

  int64_t tokens() const { return tokens_; }
  // 0 where there were no tokens.
  double mean() const { return tokens_ > 0 ? sum_ / static_cast<double>(tokens_) : 0; }

 private:
  int64_t tokens_ = 0;
  double sum_ = 0;
};

}  // namespace triforce
