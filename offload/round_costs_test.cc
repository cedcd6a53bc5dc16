#include "offload/round_costs.h"

#include <doctest/doctest.h>

#include "offload/plan_testing.h"

namespace triforce {
namespace {

// Passes whose costs do not depend on their rows, unless a test says so.
PassCosts FlatCosts(double verify_ms, double retrieval_ms, double draft_ms) {
  return {.verify_ms = std::vector<double>(kMostGamma + 1, verify_ms),
          .compute_ms = std::vector<double>(kMostGamma + 1, 0.0),
          .retrieval_ms = std::vector<double>(kMostGamma + 1, retrieval_ms),
          .draft_ms = draft_ms};
}

RoundAcceptance Rates(double bottom, double retrieval) {
  return {.bottom = AcceptanceCurve(bottom), .retrieval = AcceptanceCurve(retrieval)};
}

TEST_CASE("tokens of a round: those accepted in a row and one more") {
  CHECK(AcceptanceCurve(0.5).ExpectedTokens(0) == doctest::Approx(1));
  CHECK(AcceptanceCurve(0.5).ExpectedTokens(1) == doctest::Approx(1.5));
  CHECK(AcceptanceCurve(0.5).ExpectedTokens(3) == doctest::Approx(1 + 0.5 + 0.25 + 0.125));
  CHECK(AcceptanceCurve(0.0).ExpectedTokens(9) == doctest::Approx(1));
  CHECK(AcceptanceCurve(1.0).ExpectedTokens(9) == doctest::Approx(10));
  CHECK(AcceptanceCurve({0.5, 0.25}).ExpectedTokens(3) == doctest::Approx(1 + 0.5 + 0.125 + 0.03125));
}

TEST_CASE("proposals cost what they take, pass by pass") {
  PassCosts costs = FlatCosts(100, 10, 1);
  // Draft straight to the full cache: gamma drafts and a verify pass.
  RoundChoices draft{.bottom = true, .gamma = 4};
  CHECK(CheapestRound(draft, costs, Rates(0.5, 0.9)).ms_per_token ==
        doctest::Approx(104 / AcceptanceCurve(0.5).ExpectedTokens(4)));
  // Retrieval alone: a pass for each token, and a selection.
  costs.reselect_ms = 3;
  RoundChoices retrieval{.retrieval = true, .gamma = 4};
  CHECK(CheapestRound(retrieval, costs, Rates(0.5, 0.9)).ms_per_token ==
        doctest::Approx(143 / AcceptanceCurve(0.9).ExpectedTokens(4)));
  costs.reselect_tokens = 16;  // now and then
  CHECK(CheapestRound(retrieval, costs, Rates(0.5, 0.9)).ms_per_token ==
        doctest::Approx(140 / AcceptanceCurve(0.9).ExpectedTokens(4) + 3.0 / 16));
  costs.reselect_tokens = 1;
  // Two tokens, one draft for the first pass: both at once with chance .5, else another pass for the second.
  RoundChoices hierarchy{.retrieval = true, .below = true, .gamma = 2, .draft_gamma = 1};
  CHECK(CheapestRound(hierarchy, costs, Rates(0.5, 0.9)).ms_per_token ==
        doctest::Approx((100 + 3 + 11 + 0.5 * 10) / AcceptanceCurve(0.9).ExpectedTokens(2)));
}

TEST_CASE("what crosses the link while tokens are proposed shortens the verify pass, down to its computing") {
  PassCosts costs = FlatCosts(100, 10, 1);
  const RoundChoices draft{.bottom = true, .gamma = 20};
  const double tokens = AcceptanceCurve(0.5).ExpectedTokens(20);
  costs.prefetch_ms = 15;
  CHECK(CheapestRound(draft, costs, Rates(0.5, 0)).ms_per_token == doctest::Approx((20 + 85) / tokens));
  costs.prefetch_ms = 50;  // no longer than proposing takes
  CHECK(CheapestRound(draft, costs, Rates(0.5, 0)).ms_per_token == doctest::Approx((20 + 80) / tokens));
  costs.compute_ms.assign(kMostGamma + 1, 95);
  CHECK(CheapestRound(draft, costs, Rates(0.5, 0)).ms_per_token == doctest::Approx((20 + 95) / tokens));
}

TEST_CASE("the cheapest round is the cheapest of all that may be chosen") {
  PassCosts costs = FlatCosts(0, 0, 0.3);
  for (int64_t gamma = 0; gamma <= kMostGamma; ++gamma) {
    costs.verify_ms[gamma] = costs.compute_ms[gamma] = 20 + 0.5 * static_cast<double>(gamma);
    costs.retrieval_ms[gamma] = 2 + 0.1 * static_cast<double>(gamma);
  }
  const RoundChoices all{.plain = true, .retrieval = true, .bottom = true, .below = true, .below_or_not = true};
  for (const double bottom : {0.0, 0.4, 0.8, 0.95}) {
    for (const double retrieval : {0.0, 0.6, 0.9, 0.99}) {
      const Round best = CheapestRound(all, costs, Rates(bottom, retrieval));
      for (const bool with : {false, true}) {
        for (const int64_t gamma : {1, 3, 10, 40}) {
          for (const int64_t draft_gamma : {0, 1, 5}) {
            const RoundChoices one{.retrieval = with,
                                   .bottom = !with,
                                   .below = with && draft_gamma > 0,
                                   .gamma = gamma,
                                   .draft_gamma = draft_gamma};
            CHECK(best.ms_per_token <= CheapestRound(one, costs, Rates(bottom, retrieval)).ms_per_token);
          }
        }
      }
      CHECK(best.ms_per_token <= costs.verify_ms[0]);
      if (bottom == 0 && retrieval == 0) CHECK(best.gamma == 0);
      if (bottom == 0 && retrieval == 0.99) CHECK((best.retrieval && best.draft_gamma == 0));
      if (bottom == 0.95 && retrieval == 0) CHECK((!best.retrieval && best.gamma > 1));
    }
  }
}

TEST_CASE("a plan's costs: a verify pass behind no proposals is plain decoding") {
  PlanInput input = SpeculatingOn4090();
  input.options.budget_tokens = 4096;
  const Plan plan = MakePlan(input);
  const PassCosts costs = CostsOf(plan);
  CHECK(costs.verify_ms[0] == doctest::Approx(plan.times.decode_ms));
  CHECK(costs.compute_ms[0] == doctest::Approx(plan.times.decode_compute_ms));
  CHECK(costs.verify_ms.size() == kMostGamma + 1);
  CHECK(costs.retrieval_ms[0] > 0);
  CHECK(costs.prefetch_ms > 0);
  CHECK(costs.prefetch_ms < costs.verify_ms[0]);
  input.options.budget_tokens = 0;
  input.rates = AssumedCpuRates();  // where rows cost more than reading what they need
  const PassCosts on_cpu = CostsOf(MakePlan(input));
  CHECK(on_cpu.retrieval_ms.empty());
  CHECK(on_cpu.compute_ms[16] > 2 * on_cpu.compute_ms[0]);
  // Each row costs something, the first few less than those that arithmetic is the limit of.
  for (int64_t gamma = 1; gamma <= kMostGamma; ++gamma) CHECK(on_cpu.compute_ms[gamma] > on_cpu.compute_ms[gamma - 1]);
  CHECK(on_cpu.compute_ms[1] - on_cpu.compute_ms[0] < 0.5 * (on_cpu.compute_ms[16] - on_cpu.compute_ms[15]));
}

}  // namespace
}  // namespace triforce
