#include "tools/token_loss.h"

#include <algorithm>
#include <cmath>

#include "kernels/core/check.h"

namespace triforce {

void TokenLoss::Add(std::span<const float> logits, TokenId token) {
  TF_CHECK(ToInt(token) >= 0 && static_cast<size_t>(ToInt(token)) < logits.size());
  const float largest = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (float logit : logits) sum += std::exp(logit - largest);
  sum_ += largest + std::log(sum) - logits[static_cast<size_t>(ToInt(token))];
  ++tokens_;
}

}  // namespace triforce
