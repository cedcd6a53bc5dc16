#include "runtime/round_policy.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <random>
#include <set>
#include <vector>

#include "runtime/chance.h"
#include "runtime/draft_proposer.h"
#include "runtime/level.h"

namespace triforce {
namespace {

// The same law behind every sequence: token 0 with this chance, else token 1.
class ConstantModel final : public Verifier {
 public:
  explicit ConstantModel(float first) : first_(first) {}
  int64_t vocab() const override { return 2; }
  int64_t tokens() const override { return tokens_; }
  void Rewind(int64_t tokens) override { tokens_ = tokens; }
  void Run(std::span<const TokenId> tokens, std::span<float> laws) override {
    tokens_ += static_cast<int64_t>(tokens.size());
    for (size_t i = 0; i < laws.size(); i += 2) laws[i] = first_, laws[i + 1] = 1 - first_;
  }

 private:
  const float first_;
  int64_t tokens_ = 0;
};

// Verify passes of some base and a little more for each row; a draft's pass.
PassCosts Costs(double base_ms, double row_ms, double draft_ms) {
  PassCosts costs{.draft_ms = draft_ms};
  for (int64_t gamma = 0; gamma <= kMostGamma; ++gamma) {
    costs.verify_ms.push_back(base_ms + row_ms * static_cast<double>(gamma));
    costs.compute_ms.push_back(costs.verify_ms.back());
  }
  return costs;
}

struct Outcome {
  double ms_per_token = 0;
  double mean_gamma = 0;
};

// Rounds of a draft that says token 0 and a target that says it with `acceptance`, through the Level that ships; time
// is what the costs say.
Outcome RunRounds(double acceptance, const PassCosts& costs, int rounds, RoundPolicy& policy) {
  ConstantModel target(static_cast<float>(acceptance)), draft(1);
  SeededChance chance(7);
  const std::vector<TokenId> prompt = {TokenId{0}};
  DraftProposer proposer(draft, chance, prompt, {.most = kMostGamma, .number = 1});
  Level level(&proposer, target, chance, prompt, {.gamma = kMostGamma, .most = kMostGamma + 1, .number = 2});
  double ms = 0, tokens = 0, gammas = 0;
  for (int round = 1; round <= rounds; ++round) {
    const int64_t gamma = policy.next().gamma;
    level.set_gamma(gamma);
    tokens += static_cast<double>(level.Round(gamma + 1, static_cast<uint32_t>(round)).size());
    ms += costs.verify_ms[gamma] + static_cast<double>(gamma) * costs.draft_ms;
    gammas += static_cast<double>(gamma);
    policy.Note(level.stats(), nullptr);
    level.ClearStats();
  }
  return {ms / tokens, gammas / rounds};
}

double BestFixed(double acceptance, const PassCosts& costs) {
  return CheapestRound({.bottom = true}, costs,
                       {.bottom = AcceptanceCurve(acceptance), .retrieval = AcceptanceCurve(0.0)})
      .ms_per_token;
}

RoundPolicy Adapting(const PassCosts& costs, double assumed, const RoundChoices& choices = {.bottom = true}) {
  return RoundPolicy(choices, costs, {.bottom = AcceptanceCurve(assumed), .retrieval = AcceptanceCurve(0.0)});
}

TEST_CASE("gamma adapts to the acceptance, and ends within 5 % of the best fixed one") {
  for (const auto& costs : {Costs(100, 0.1, 3), Costs(10, 0.5, 0.5)}) {
    std::vector<double> gammas;
    for (const double acceptance : {0.6, 0.97}) {
      for (const double assumed : {0.3, 0.9}) {
        CAPTURE(acceptance);
        CAPTURE(assumed);
        RoundPolicy policy = Adapting(costs, assumed);
        RunRounds(acceptance, costs, 60, policy);  // what it takes to find out
        const Outcome found = RunRounds(acceptance, costs, 2000, policy);
        CHECK(found.ms_per_token < 1.05 * BestFixed(acceptance, costs));
        gammas.push_back(found.mean_gamma);
      }
    }
    CHECK(gammas[2] > 2 * gammas[0]);
    CHECK(gammas[3] > 2 * gammas[1]);
    // Where it comes from is forgotten.
    CHECK(gammas[1] == doctest::Approx(gammas[0]).epsilon(0.1));
    CHECK(gammas[3] == doctest::Approx(gammas[2]).epsilon(0.1));
  }
}

TEST_CASE("text that changes changes gamma") {
  const PassCosts costs = Costs(100, 0.1, 3);
  RoundPolicy policy = Adapting(costs, 0.5);
  RunRounds(0.97, costs, 300, policy);
  const int64_t easy = policy.next().gamma;
  RunRounds(0.6, costs, 300, policy);
  const int64_t hard = policy.next().gamma;
  RunRounds(0.97, costs, 600, policy);
  CHECK(hard < easy / 2);
  CHECK(policy.next().gamma > 2 * hard);
}

TEST_CASE("where proposals do not pay they end, are tried again some time, and come back where they pay") {
  const PassCosts costs = Costs(10, 2, 2);
  const RoundChoices choices{.plain = true, .bottom = true};
  RoundPolicy policy = Adapting(costs, 0.9, choices);
  const Outcome hopeless = RunRounds(0.05, costs, 1000, policy);
  CHECK(hopeless.mean_gamma < 0.2);
  CHECK(hopeless.mean_gamma > 0);
  CHECK(hopeless.ms_per_token < 1.05 * costs.verify_ms[0]);
  RunRounds(0.97, costs, 500, policy);
  CHECK(policy.next().gamma > 1);
}

TEST_CASE("what is fixed stays") {
  const PassCosts costs = Costs(100, 0.1, 3);
  RoundPolicy fixed = Adapting(costs, 0.5, {.bottom = true, .gamma = 5});
  CHECK(RunRounds(0.97, costs, 100, fixed).mean_gamma == 5);
}

// A round whose proposals are accepted with this chance each, and that has taken `ms`, by its clocks.
LevelStats Happened(std::mt19937& random, int64_t proposed, double acceptance, double ms) {
  LevelStats stats{.rounds = 1, .proposed = proposed, .propose_ms = ms, .verify_ms = ms};
  stats.tested_by_position.resize(proposed);
  stats.accepted_by_position.resize(proposed);
  for (int64_t place = 0; place < proposed; ++place) {
    const bool accepted = static_cast<double>(random()) * 0x1p-32 < acceptance;
    ++stats.tested, ++stats.tested_by_position[place];
    if (!accepted) break;
    ++stats.accepted, ++stats.accepted_by_position[place];
  }
  stats.handed_out = stats.accepted + 1;
  return stats;
}

TEST_CASE("choices are a function of what has happened, whatever the clocks of the figures say") {
  constexpr uint32_t kSeed = 5;
  CAPTURE(kSeed);
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  constexpr std::array<double, 5> kClocks = {std::numeric_limits<double>::quiet_NaN(), kInfinity, -kInfinity, 1e9,
                                             -1e9};
  PassCosts costs = Costs(100, 1, 1);
  for (int64_t rows = 0; rows <= kMostGamma; ++rows) costs.retrieval_ms.push_back(12 + 0.2 * static_cast<double>(rows));
  const RoundChoices choices{.plain = true, .retrieval = true, .bottom = true, .below = true, .below_or_not = true};
  const auto policy = [&] {
    return RoundPolicy(choices, costs, {.bottom = AcceptanceCurve(0.5), .retrieval = AcceptanceCurve(0.9)});
  };
  RoundPolicy right = policy(), poisoned = policy();
  std::mt19937 random(kSeed), same(kSeed);
  std::set<int64_t> gammas, draft_gammas;
  for (int round = 0; round < 300; ++round) {
    const Round next = right.next();
    gammas.insert(next.gamma);
    if (next.retrieval) draft_gammas.insert(next.draft_gamma);
    const double acceptance = round % 100 < 50 ? 0.97 : 0.3, clock = kClocks[round % kClocks.size()];
    const auto note = [&](RoundPolicy& to, std::mt19937& numbers, double ms) {
      const LevelStats top = Happened(numbers, next.gamma, acceptance, ms);
      const LevelStats middle = Happened(numbers, next.draft_gamma, acceptance, ms);
      to.Note(top, next.retrieval ? &middle : nullptr);
    };
    note(right, random, 0);
    note(poisoned, same, clock);
    REQUIRE(poisoned.next() == right.next());
  }
  CHECK(gammas.size() > 5);  // something was chosen
  CHECK(draft_gammas.size() > 2);
}

TEST_CASE("acceptance by place: seen at one place, it counts there most") {
  AcceptanceEstimate estimate(AcceptanceCurve(0.5));
  CHECK(estimate.Curve().At(0) == doctest::Approx(0.5));
  LevelStats round{.tested_by_position = {10, 10}, .accepted_by_position = {10, 2}};
  for (int i = 0; i < 50; ++i) estimate.Add(round);
  CHECK(estimate.Curve().At(0) > 0.9);
  CHECK(estimate.Curve().At(1) < 0.35);
  CHECK(estimate.Curve().At(2) == doctest::Approx(0.6).epsilon(0.05));
}

}  // namespace
}  // namespace triforce
