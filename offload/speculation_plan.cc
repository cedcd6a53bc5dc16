#include "offload/speculation_plan.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/core/error.h"
#include "kernels/ops/kv_view.h"
#include "offload/plan_sizes.h"

namespace triforce {
namespace {

using Bottom = SpeculationShape::Bottom;

// How much more a larger shape may cost than the fastest one.
constexpr double kWorthAnOption = 1.02;

// Of a run's time, what choosing chunks anew may take. Acceptance of the demo target with a budget of 1,024 tokens is
// .886 where they are chosen every 16 tokens and .856 where they are chosen once (docs/speculation.md).
constexpr double kSelectionShare = 0.04;
constexpr int64_t kMostReselectTokens = 64;

RoundChoices RoundsOf(const SpeculationShape& shape, const SpeculationChoices& choices) {
  const bool open = !choices.shape;
  const bool bottom = shape.bottom != Bottom::kNone;
  return {.plain = open || shape.none(),
          .retrieval = shape.retrieval,
          .bottom = bottom && (open || !shape.retrieval),
          .below = bottom && shape.retrieval,
          .below_or_not = open,
          .gamma = choices.gamma,
          .draft_gamma = choices.draft_gamma};
}

bool HasAllParts(const SpeculationShape& shape, const SpeculationShape& of) {
  const bool bottom = of.bottom == Bottom::kNone || of.bottom == shape.bottom || shape.bottom == Bottom::kNgramDraft;
  return bottom && (shape.retrieval || !of.retrieval);
}

// As many that selecting takes no more than its share of the time.
int64_t ReselectTokens(const PassCosts& costs, const Round& round) {
  const double tokens = costs.reselect_ms / (kSelectionShare * round.ms_per_token);
  return std::clamp<int64_t>(static_cast<int64_t>(std::ceil(tokens)), 1, kMostReselectTokens);
}

SpeculationPlan PlanFor(const PlanInput& input, const SpeculationShape& shape, const SpeculationChoices& choices) {
  const RoundChoices rounds = RoundsOf(shape, choices);
  const RoundAcceptance assumed = AssumedAcceptance(shape, choices.acceptance);
  PassCosts costs = CostsOf(MakePlan(InputFor(input, shape, choices)));
  Round round = CheapestRound(rounds, costs, assumed);
  if (!shape.retrieval) return {shape, rounds, round};
  costs.reselect_tokens = choices.reselect_tokens.value_or(ReselectTokens(costs, round));
  round = CheapestRound(rounds, costs, assumed);
  return {shape, rounds, round, costs.reselect_tokens};
}

}  // namespace

RoundAcceptance AssumedAcceptance(const SpeculationShape& shape, const AcceptanceRates& rates) {
  return {.bottom = AcceptanceCurve(shape.bottom == Bottom::kNgram ? rates.ngram : rates.draft),
          .retrieval = AcceptanceCurve(rates.retrieval)};
}

int64_t DefaultBudgetTokens(int64_t prompt_tokens, int64_t chunk_tokens) {
  constexpr int64_t kShare = 10;
  return std::max(kLeastBudgetChunks * chunk_tokens, prompt_tokens / kShare);
}

int64_t ChunkTokensFor(int64_t budget_tokens) {
  constexpr int64_t kMost = 32, kLeastChunks = 16;
  int64_t tokens = kMost;
  while (tokens > kKeyTile && budget_tokens / tokens < kLeastChunks) tokens /= 2;
  return tokens;
}

PlanInput InputFor(const PlanInput& input, const SpeculationShape& shape, const SpeculationChoices& choices) {
  PlanInput with = input;
  if (!shape.drafts()) with.draft.reset();
  with.options.budget_tokens = shape.retrieval ? choices.budget_tokens : 0;
  with.options.most_gamma = shape.none() ? 0 : choices.gamma.value_or(kMostGamma);
  with.options.gamma = with.options.most_gamma;
  with.options.draft_gamma = choices.draft_gamma.value_or(0);
  return with;
}

SpeculationPlan PlanSpeculation(const PlanInput& input, const SpeculationChoices& choices) {
  if (choices.shape) return PlanFor(input, *choices.shape, choices);
  std::vector<SpeculationPlan> plans = {PlanFor(input, {}, choices)};
  for (const SpeculationShape shape : {SpeculationShape{false, Bottom::kDraft}, SpeculationShape{true, Bottom::kNone},
                                       SpeculationShape{true, Bottom::kDraft}}) {
    if ((shape.bottom == Bottom::kDraft && !input.draft) || (shape.retrieval && choices.budget_tokens == 0)) continue;
    try {
      const SpeculationPlan found = PlanFor(input, shape, choices);
      if (found.round.gamma > 0) plans.push_back(found);  // otherwise nothing of it pays
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::kOutOfMemory) throw;  // what does not fit is not chosen
    }
  }
  return Preferred(plans);
}

const SpeculationPlan& Preferred(std::span<const SpeculationPlan> plans) {
  const auto fastest = std::min_element(plans.begin(), plans.end(), [](const auto& a, const auto& b) {
    return a.round.ms_per_token < b.round.ms_per_token;
  });
  const SpeculationPlan* preferred = &*fastest;
  if (fastest->shape.none()) return *preferred;
  for (const SpeculationPlan& plan : plans) {
    if (HasAllParts(plan.shape, fastest->shape) &&
        plan.round.ms_per_token < kWorthAnOption * fastest->round.ms_per_token) {
      preferred = &plan;
    }
  }
  return *preferred;
}

}  // namespace triforce
