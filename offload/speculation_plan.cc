#include "offload/speculation_plan.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <span>

#include "kernels/core/error.h"

namespace triforce {
namespace {

using Bottom = SpeculationShape::Bottom;

constexpr std::array<int64_t, 12> kGammas = {1, 2, 3, 4, 6, 8, 10, 12, 16, 20, 24, 32};
constexpr std::array<int64_t, 5> kDraftGammas = {1, 2, 3, 4, 6};
constexpr std::array<int64_t, 1> kNoGamma = {0};

// The fastest gammas on a plan whose placement is made for the shape.
class Search {
 public:
  Search(const Plan& plan, const SpeculationShape& shape, const SpeculationChoices& choices)
      : plan_(plan), choices_(choices) {
    best_.shape = shape;
    best_.ms_per_token = std::numeric_limits<double>::infinity();
  }

  SpeculationPlan Best() {
    if (best_.shape.none()) {
      Try(0, 0, PredictTimes(plan_));
      return best_;
    }
    const bool drafts_for_retrieval = best_.shape.retrieval && best_.shape.bottom != Bottom::kNone;
    for (const int64_t gamma : Or(choices_.gamma, kGammas)) {
      for (const int64_t draft_gamma :
           drafts_for_retrieval ? Or(choices_.draft_gamma, kDraftGammas) : std::span<const int64_t>(kNoGamma)) {
        plan_.input.options.gamma = gamma;
        plan_.input.options.draft_gamma = draft_gamma;
        Try(gamma, draft_gamma, PredictTimes(plan_));
      }
    }
    return best_;
  }

 private:
  std::span<const int64_t> Or(const std::optional<int64_t>& fixed, std::span<const int64_t> open) const {
    return fixed ? std::span(&*fixed, 1) : open;
  }

  void Try(int64_t gamma, int64_t draft_gamma, const PlanTimes& t) {
    const double ms = MsPerToken(gamma, draft_gamma, t);
    if (ms >= best_.ms_per_token) return;
    best_.gamma = gamma;
    best_.draft_gamma = draft_gamma;
    best_.ms_per_token = ms;
  }

  double MsPerToken(int64_t gamma, int64_t draft_gamma, const PlanTimes& t) const {
    if (best_.shape.none()) return t.decode_ms;
    const AcceptanceRates& a = choices_.acceptance;
    const double guessed = best_.shape.bottom == Bottom::kDraft ? a.draft : a.ngram;
    const double guess_ms = best_.shape.bottom == Bottom::kDraft ? t.draft_pass_ms : 0;
    double propose_ms = static_cast<double>(gamma) * guess_ms, acceptance = guessed;
    if (best_.shape.retrieval) {
      // A retrieval pass gives one token more than it tests, and no more than are wanted.
      const int64_t drafted = std::min(draft_gamma, gamma - 1);
      const double tokens = ExpectedTokens(guessed, drafted);
      const double round_ms = static_cast<double>(drafted) * guess_ms + t.retrieval_pass_ms;
      propose_ms = static_cast<double>(gamma) / tokens * round_ms + t.reselect_ms;
      acceptance = a.retrieval;
    }
    return (propose_ms + t.verify_ms) / ExpectedTokens(acceptance, gamma);
  }

  Plan plan_;
  const SpeculationChoices& choices_;
  SpeculationPlan best_;
};

}  // namespace

double ExpectedTokens(double acceptance, int64_t gamma) {
  if (acceptance >= 1) return static_cast<double>(gamma + 1);
  return (1 - std::pow(acceptance, static_cast<double>(gamma + 1))) / (1 - acceptance);
}

PlanInput InputFor(const PlanInput& input, const SpeculationShape& shape, const SpeculationChoices& choices) {
  PlanInput with = input;
  if (shape.bottom != Bottom::kDraft) with.draft.reset();
  with.options.budget_tokens = shape.retrieval ? choices.budget_tokens : 0;
  with.options.gamma = shape.none() ? 0 : choices.gamma.value_or(kGammas.back());
  with.options.draft_gamma = choices.draft_gamma.value_or(0);
  return with;
}

SpeculationPlan PlanSpeculation(const PlanInput& input, const SpeculationChoices& choices) {
  if (choices.shape) {
    return Search(MakePlan(InputFor(input, *choices.shape, choices)), *choices.shape, choices).Best();
  }
  const SpeculationShape none;
  SpeculationPlan best = Search(MakePlan(InputFor(input, none, choices)), none, choices).Best();
  for (const bool retrieval : {false, true}) {
    for (const Bottom bottom : {Bottom::kNone, Bottom::kDraft}) {
      const SpeculationShape shape{retrieval, bottom};
      if (shape.none() || (bottom == Bottom::kDraft && !input.draft) || (retrieval && choices.budget_tokens == 0)) {
        continue;
      }
      try {
        const SpeculationPlan found = Search(MakePlan(InputFor(input, shape, choices)), shape, choices).Best();
        if (found.ms_per_token < best.ms_per_token) best = found;
      } catch (const Error& error) {
        if (error.kind() != ErrorKind::kOutOfMemory) throw;  // what does not fit is not chosen
      }
    }
  }
  return best;
}

}  // namespace triforce
