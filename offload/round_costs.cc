#include "offload/round_costs.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <utility>

#include "kernels/core/check.h"

namespace triforce {
namespace {

// What it costs to make so many proposals with the retrieval cache, drafts tested for each of its passes: as it
// happens, pass by pass.
class RetrievalProposals {
 public:
  RetrievalProposals(int64_t draft_gamma, const PassCosts& costs, const AcceptanceCurve& bottom) {
    ms_[0] = 0;
    for (int64_t left = 1; left <= kMostGamma; ++left) {
      const int64_t drafted = std::min(draft_gamma, left - 1);  // a pass gives one token more than it tests
      double ms = static_cast<double>(drafted) * costs.draft_ms + costs.retrieval_ms[drafted];
      double reached = 1;  // the chance that the first `accepted` are accepted
      for (int64_t accepted = 0; accepted < drafted; ++accepted) {
        ms += reached * (1 - bottom.At(accepted)) * ms_[left - accepted - 1];
        reached *= bottom.At(accepted);
      }
      ms_[left] = ms + reached * ms_[left - drafted - 1];
    }
  }
  double ms(int64_t proposals) const { return ms_[proposals]; }

 private:
  std::array<double, kMostGamma + 1> ms_;
};

// By gamma: AcceptanceCurve::ExpectedTokens, once for all rounds that are tried.
using TokensByGamma = std::array<double, kMostGamma + 1>;

TokensByGamma ExpectedTokens(const AcceptanceCurve& curve) {
  TokensByGamma tokens;
  double sum = 1, reached = 1;
  for (int64_t gamma = 0; gamma <= kMostGamma; ++gamma) {
    tokens[gamma] = sum;
    sum += reached *= curve.At(gamma);
  }
  return tokens;
}

class Search {
 public:
  Search(const RoundChoices& choices, const PassCosts& costs, const RoundAcceptance& acceptance)
      : choices_(choices),
        costs_(costs),
        acceptance_(acceptance),
        bottom_tokens_(ExpectedTokens(acceptance.bottom)),
        retrieval_tokens_(ExpectedTokens(acceptance.retrieval)) {
    best_.ms_per_token = std::numeric_limits<double>::infinity();
  }

  Round Best() {
    if (choices_.plain) Try({.ms_per_token = costs_.verify_ms[0]});
    const auto [first, last] = Gammas();
    if (choices_.bottom) {
      for (int64_t gamma = first; gamma <= last; ++gamma) {
        TryGamma({.gamma = gamma}, static_cast<double>(gamma) * costs_.draft_ms, bottom_tokens_[gamma]);
      }
    }
    if (choices_.retrieval) {
      for (const int64_t draft_gamma : DraftGammas()) {
        const RetrievalProposals proposals(draft_gamma, costs_, acceptance_.bottom);
        for (int64_t gamma = first; gamma <= last; ++gamma) {
          TryGamma({.retrieval = true, .gamma = gamma, .draft_gamma = draft_gamma},
                   proposals.ms(gamma) + ReselectMs(retrieval_tokens_[gamma]), retrieval_tokens_[gamma]);
        }
      }
    }
    TF_CHECK(std::isfinite(best_.ms_per_token), "no choice");
    return best_;
  }

 private:
  std::pair<int64_t, int64_t> Gammas() const {
    if (choices_.gamma) return {*choices_.gamma, *choices_.gamma};
    return {1, std::min(choices_.most_gamma, kMostGamma)};
  }
  std::vector<int64_t> DraftGammas() const {
    if (!choices_.below) return {0};
    if (choices_.draft_gamma) return {*choices_.draft_gamma};
    std::vector<int64_t> all;
    for (int64_t i = choices_.below_or_not ? 0 : 1; i <= kMostDraftGamma; ++i) all.push_back(i);
    return all;
  }

  // Of a round of so many tokens.
  double ReselectMs(double tokens) const {
    if (costs_.reselect_tokens == 0) return 0;
    return costs_.reselect_ms * std::min(1.0, tokens / static_cast<double>(costs_.reselect_tokens));
  }
  void TryGamma(Round round, double propose_ms, double tokens) {
    // While tokens are proposed, the link fills the ring.
    const double verify_ms = std::max(costs_.verify_ms[round.gamma] - std::min(propose_ms, costs_.prefetch_ms),
                                      costs_.compute_ms[round.gamma]);
    round.ms_per_token = (propose_ms + verify_ms) / tokens;
    Try(round);
  }
  void Try(const Round& round) {
    if (round.ms_per_token < best_.ms_per_token) best_ = round;
  }

  const RoundChoices& choices_;
  const PassCosts& costs_;
  const RoundAcceptance& acceptance_;
  const TokensByGamma bottom_tokens_, retrieval_tokens_;
  Round best_;
};

}  // namespace

AcceptanceCurve::AcceptanceCurve(std::vector<double> by_place) : by_place_(std::move(by_place)) {
  TF_CHECK(!by_place_.empty());
}

double AcceptanceCurve::ExpectedTokens(int64_t gamma) const {
  double tokens = 1, reached = 1;
  for (int64_t place = 0; place < gamma; ++place) {
    reached *= At(place);
    tokens += reached;
  }
  return tokens;
}

PassCosts CostsOf(const Plan& plan) {
  Plan of_gamma = plan;
  PassCosts costs;
  const bool streams_weights = plan.streams_weights();
  const bool retrieves = plan.input.options.budget_tokens > 0;
  for (int64_t gamma = 0; gamma <= kMostGamma; ++gamma) {
    of_gamma.input.options.gamma = gamma;
    of_gamma.input.options.draft_gamma = gamma;
    const PlanTimes times = PredictTimes(of_gamma);
    costs.verify_ms.push_back(times.verify_ms);
    costs.compute_ms.push_back(times.verify_compute_ms);
    if (retrieves) costs.retrieval_ms.push_back(times.retrieval_pass_ms);
    if (gamma > 0) continue;
    costs.reselect_ms = times.reselect_ms;
    costs.draft_ms = times.draft_pass_ms;
    if (plan.input.options.pipeline && !streams_weights && times.decode_link_ms > 0) {
      const double ring_bytes = static_cast<double>(plan.ring.slots * plan.ring.slot_bytes);
      costs.prefetch_ms = std::min(1.0, ring_bytes / static_cast<double>(plan.StreamedBytesPerPass())) *
                          std::max(times.decode_link_ms, times.decode_disk_ms);
    }
  }
  return costs;
}

Round CheapestRound(const RoundChoices& choices, const PassCosts& costs, const RoundAcceptance& acceptance) {
  TF_CHECK(!choices.retrieval || !costs.retrieval_ms.empty());
  TF_CHECK(choices.draft_gamma.value_or(0) <= kMostGamma && choices.gamma.value_or(0) <= kMostGamma);
  return Search(choices, costs, acceptance).Best();
}

}  // namespace triforce
