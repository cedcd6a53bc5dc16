// RoundPolicy: which round comes next: by how many proposals, and through which levels, from the acceptance measured so
// far and the plan's costs (offload/round_costs.h).
//
// A function of outcomes and costs, never of a clock. So a run repeats where its costs do: a plan's costs follow from
// limits, measured rates and the batch, those of `--reproducible` from model and prompt (offload/reproducible_plan.h).
// It looks at rounds that are over and at nothing of the one to come, as exactness asks (DESIGN.md, "Levels").
#pragma once

#include <cstdint>
#include <vector>

#include "offload/round_costs.h"
#include "runtime/level.h"

namespace triforce {

// The chance of acceptance by place, as far as rounds have shown it. What is older counts less.
class AcceptanceEstimate {
 public:
  // `assumed`: before anything was seen; outweighed by a dozen tests.
  explicit AcceptanceEstimate(const AcceptanceCurve& assumed);

  // What has happened in a round: so many proposals tested and accepted at each place.
  void Add(const LevelStats& round);
  // What was seen counts half from now on.
  void Fade();
  // The estimate at the first `places`; what was seen at one place counts for its neighbours too.
  AcceptanceCurve Curve() const { return AcceptanceCurve(rates_); }

 private:
  void Estimate();

  const double assumed_;
  std::vector<double> tested_, accepted_;  // [kMostGamma], weighed by age
  std::vector<double> rates_;              // [kMostGamma]
};

class RoundPolicy {
 public:
  RoundPolicy(const RoundChoices& choices, PassCosts costs, const RoundAcceptance& assumed);

  const Round& next() const { return next_; }
  // How often what stands at the bottom is accepted, as measured so far.
  AcceptanceCurve bottom() const { return bottom_.Curve(); }
  // What the latest round, next(), has come to, level by level: `top` the tests of the full cache, `middle` those of
  // the retrieval cache (null where it had none).
  void Note(const LevelStats& top, const LevelStats* middle);

 private:
  const RoundChoices choices_;
  const PassCosts costs_;
  AcceptanceEstimate retrieval_, bottom_;
  Round next_;
  int64_t plain_rounds_ = 0;  // in a row
};

}  // namespace triforce
