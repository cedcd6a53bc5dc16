#include "tools/bench/candidate_acceptance.h"

#include <doctest/doctest.h>

#include <cmath>
#include <random>
#include <vector>

namespace triforce {
namespace {

TEST_CASE("candidates: one is accepted as often as min(p, q) says, all of them for certain") {
  const std::vector<float> p = {0.5f, 0.5f, 0.0f}, q = {0.9f, 0.1f, 0.0f};
  CHECK(CandidateAcceptance(p, q, 1) == doctest::Approx(0.6));
  // Behind the first one, 0.4 of whose weight is rejected, only the second can come, and only it is left.
  CHECK(CandidateAcceptance(p, q, 2) == doctest::Approx(1));
  const std::vector<float> apart = {0, 0, 1};
  CHECK(CandidateAcceptance(apart, q, 3) == doctest::Approx(0));
  CHECK(CandidateAcceptance(q, q, 3) == doctest::Approx(1));
}

TEST_CASE("candidates: what is computed is what happens when they are drawn and tested") {
  constexpr uint32_t kSeed = 5;
  CAPTURE(kSeed);
  std::mt19937 random(kSeed);
  std::uniform_real_distribution<double> uniform;
  const std::vector<float> p = {0.1f, 0.35f, 0.05f, 0.3f, 0.2f, 0.0f}, q = {0.5f, 0.1f, 0.25f, 0.05f, 0.0f, 0.1f};
  for (int candidates = 1; candidates <= 3; ++candidates) {
    constexpr int kDraws = 200000;
    int accepted = 0;
    for (int draw = 0; draw < kDraws; ++draw) {
      std::vector<double> left(p.begin(), p.end()), others(q.begin(), q.end());
      for (int i = 0; i < candidates; ++i) {
        double mass = 0, left_mass = 0;
        for (size_t t = 0; t < p.size(); ++t) mass += others[t], left_mass += left[t];
        for (size_t t = 0; t < p.size(); ++t) others[t] /= mass, left[t] /= left_mass;
        const size_t x = std::discrete_distribution<size_t>(others.begin(), others.end())(random);
        if (uniform(random) < left[x] / others[x]) {
          ++accepted;
          break;
        }
        for (size_t t = 0; t < p.size(); ++t) left[t] = std::max(0.0, left[t] - others[t]);
        others[x] = 0;
      }
    }
    const double expected = CandidateAcceptance(p, q, candidates);
    // Five standard deviations.
    const double tolerance = 5 * std::sqrt(expected * (1 - expected) / kDraws);
    CHECK(std::abs(static_cast<double>(accepted) / kDraws - expected) < tolerance);
  }
}

}  // namespace
}  // namespace triforce
