#include "runtime/chance.h"

#include <numeric>

#include "kernels/core/check.h"

namespace triforce {

TokenId DrawFrom(const Distribution& law, Chance& chance, const RandomCounter& counter, std::vector<double>& weights) {
  for (size_t i = 0; i < weights.size(); ++i) weights[i] = law.probability(TokenId{static_cast<int32_t>(i)});
  return chance.Draw(weights, counter);
}

bool SeededChance::Happens(double probability, const RandomCounter& counter) { return Uniform(seed_, counter) < probability; }

TokenId SeededChance::Draw(std::span<const double> weights, const RandomCounter& counter) {
  const double target = Uniform(seed_, counter) * std::accumulate(weights.begin(), weights.end(), 0.0);
  double sum = 0;
  int32_t last = -1;  // rounding may let the target pass the sum
  for (int32_t i = 0; i < static_cast<int32_t>(weights.size()); ++i) {
    if (weights[i] <= 0) continue;
    sum += weights[i];
    last = i;
    if (sum > target) break;
  }
  TF_CHECK(last >= 0, "nothing to draw from");
  return TokenId{last};
}

}  // namespace triforce
