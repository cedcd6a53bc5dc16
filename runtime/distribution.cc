#include "runtime/distribution.h"

#include <cmath>

#include "kernels/core/check.h"

namespace triforce {

double Distribution::Mass(std::span<const float> weights) {
  double sum = 0;
  ForEachNonzero(weights, [&](int32_t, float weight) { sum += weight; });
  return sum;
}

Distribution::Distribution(std::span<const float> weights) : weights_(weights), mass_(Mass(weights)) {
  TF_CHECK(mass_ > 0 && std::isfinite(mass_), "weights that sum to {}", mass_);
}

Distribution Distribution::Point(TokenId token) {
  Distribution point;
  point.point_ = token;
  return point;
}

bool Distribution::Valid(std::span<const float> weights) {
  const double mass = Mass(weights);
  return mass > 0 && std::isfinite(mass);
}

}  // namespace triforce
