#include "runtime/chance.h"

#include "kernels/core/check.h"

namespace triforce {

TokenId DrawFrom(const Distribution& law, Chance& chance, const RandomCounter& counter,
                 std::vector<WeightedToken>& room) {
  room.clear();
  law.ForEachPossible([&](TokenId token, double probability) { room.push_back({token, probability}); });
  return chance.Draw(room, counter);
}

bool SeededChance::Happens(double probability, const RandomCounter& counter) {
  return Uniform(seed_, counter) < probability;
}

TokenId SeededChance::Draw(std::span<const WeightedToken> tokens, const RandomCounter& counter) {
  TF_CHECK(!tokens.empty(), "nothing to draw from");
  double total = 0;
  for (const WeightedToken& t : tokens) total += t.weight;
  const double target = Uniform(seed_, counter) * total;
  double sum = 0;
  for (const WeightedToken& t : tokens) {
    sum += t.weight;
    if (sum > target) return t.token;
  }
  return tokens.back().token;  // rounding may let the target pass the sum
}

}  // namespace triforce
