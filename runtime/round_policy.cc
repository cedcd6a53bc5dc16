#include "runtime/round_policy.h"

#include <algorithm>
#include <utility>

namespace triforce {
namespace {

// Of what was seen, what is left a round later: text changes. Half of it is forgotten in some 140 rounds.
constexpr double kKept = 0.995;
// The assumption weighs as much as so many tests.
constexpr double kAssumedTests = 12;
// At each place the mean of all places weighs as much as so many tests there: a place is seen once a round at most.
constexpr double kMeanTests = 48;
// Rounds without proposals, which show nothing of their acceptance, until what was seen before counts half.
constexpr int64_t kPlainRounds = 64;

}  // namespace

AcceptanceEstimate::AcceptanceEstimate(const AcceptanceCurve& assumed)
    : assumed_(assumed.At(0)), tested_(kMostGamma, 0.0), accepted_(kMostGamma, 0.0), rates_(kMostGamma, assumed_) {}

void AcceptanceEstimate::Add(const LevelStats& round) {
  const size_t places = std::min(tested_.size(), round.tested_by_position.size());
  for (size_t place = 0; place < tested_.size(); ++place) {
    tested_[place] *= kKept;
    accepted_[place] *= kKept;
    if (place >= places) continue;
    tested_[place] += static_cast<double>(round.tested_by_position[place]);
    accepted_[place] += static_cast<double>(round.accepted_by_position[place]);
  }
  Estimate();
}

void AcceptanceEstimate::Fade() {
  for (double& count : tested_) count *= 0.5;
  for (double& count : accepted_) count *= 0.5;
  Estimate();
}

void AcceptanceEstimate::Estimate() {
  double tested = kAssumedTests, accepted = kAssumedTests * assumed_;
  for (size_t place = 0; place < tested_.size(); ++place) tested += tested_[place], accepted += accepted_[place];
  const double mean = accepted / tested;
  for (size_t place = 0; place < tested_.size(); ++place) {
    rates_[place] = (accepted_[place] + kMeanTests * mean) / (tested_[place] + kMeanTests);
  }
}

RoundPolicy::RoundPolicy(const RoundChoices& choices, PassCosts costs, const RoundAcceptance& assumed)
    : choices_(choices),
      costs_(std::move(costs)),
      retrieval_(assumed.retrieval),
      bottom_(assumed.bottom),
      next_(CheapestRound(choices_, costs_, assumed)) {}

void RoundPolicy::Note(const LevelStats& top, const LevelStats* middle) {
  if (next_.gamma > 0) {
    (next_.retrieval ? retrieval_ : bottom_).Add(top);
    plain_rounds_ = 0;
  } else if (++plain_rounds_ == kPlainRounds) {
    plain_rounds_ = 0;
    retrieval_.Fade();
    bottom_.Fade();
  }
  if (middle != nullptr && next_.draft_gamma > 0) bottom_.Add(*middle);
  next_ = CheapestRound(choices_, costs_, {.bottom = bottom_.Curve(), .retrieval = retrieval_.Curve()});
}

}  // namespace triforce
