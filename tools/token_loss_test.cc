#include "tools/token_loss.h"

#include <doctest/doctest.h>

#include <array>
#include <cmath>

namespace triforce {
namespace {

TEST_CASE("equal logits cost the logarithm of their number, whatever their size") {
  for (float logit : {0.0f, -700.0f, 700.0f}) {
    TokenLoss loss;
    const std::array<float, 8> logits = {logit, logit, logit, logit, logit, logit, logit, logit};
    loss.Add(logits, TokenId{3});
    CHECK(loss.tokens() == 1);
    CHECK(loss.mean() == doctest::Approx(std::log(8.0)));
  }
}

TEST_CASE("the mean is over tokens") {
  TokenLoss loss;
  const std::array<float, 2> logits = {std::log(3.0f), 0.0f};  // 3/4 and 1/4
  CHECK(loss.mean() == 0);
  loss.Add(logits, TokenId{0});
  loss.Add(logits, TokenId{1});
  CHECK(loss.mean() == doctest::Approx((std::log(4.0 / 3) + std::log(4.0)) / 2));
}

}  // namespace
}  // namespace triforce
