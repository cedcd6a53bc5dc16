// RoundCosts: what the passes of a speculative round cost by a plan, and which round costs least per token.
//
// Pure functions of a plan and of the acceptance that is assumed or was measured: no clock is asked. A run that follows
// them repeats with the same plan; other limits or rates may give other rounds.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <vector>

#include "offload/plan.h"

namespace triforce {

// Tokens that one pass of the full cache can verify; and the most drafts that a retrieval pass is tried with.
inline constexpr int64_t kMostGamma = 63;
inline constexpr int64_t kMostDraftGamma = 8;

// The chance that a proposal is accepted, by its place in the round, given that all before it were.
class AcceptanceCurve {
 public:
  // The same at every place.
  explicit AcceptanceCurve(double rate) : by_place_{rate} {}
  // Behind the last place, the last one's. REQUIRES: one at least.
  explicit AcceptanceCurve(std::vector<double> by_place);

  double At(int64_t place) const { return by_place_[std::min<size_t>(place, by_place_.size() - 1)]; }
  // Of a round that tests `gamma` proposals: those accepted in a row, and one more (Leviathan et al., arXiv
  // 2211.17192).
  double ExpectedTokens(int64_t gamma) const;

 private:
  std::vector<double> by_place_;
};

// In milliseconds, by a plan.
struct PassCosts {
  std::vector<double> verify_ms;     // [gamma]: of a verify pass behind so many proposals, 0 to kMostGamma
  std::vector<double> compute_ms;    // [gamma]: what is left of it where all has crossed the link before
  double prefetch_ms = 0;            // of its link time, what the ring has room for while tokens are proposed
  std::vector<double> retrieval_ms;  // [draft gamma]: of a retrieval pass, 0 to kMostGamma; empty without a budget
  double reselect_ms = 0;            // of choosing the retrieval cache's chunks anew
  int64_t reselect_tokens = 1;       // which happens behind so many tokens, once a round at most; 0: never
  double draft_ms = 0;               // of a draft's pass; 0 where there is no draft
};
PassCosts CostsOf(const Plan& plan);

// What a round does: `gamma` tokens are proposed to the full cache, by the retrieval cache, to which `draft_gamma` are
// proposed for each pass, or without it.
struct Round {
  bool retrieval = false;
  int64_t gamma = 0;  // 0: plain decoding
  int64_t draft_gamma = 0;
  double ms_per_token = 0;  // expected
  bool operator==(const Round&) const = default;
};

// What rounds may be chosen from.
struct RoundChoices {
  bool plain = false;                         // no proposals at all
  bool retrieval = false;                     // proposals of the retrieval cache
  bool bottom = false;                        // proposals of what stands at the bottom, straight to the full cache
  bool below = false;                         // what stands at the bottom proposes to the retrieval cache,
  bool below_or_not = false;                  // or does not
  std::optional<int64_t> gamma, draft_gamma;  // fixed ones
  int64_t most_gamma = kMostGamma;
};

// Of what stands at the bottom, tested by the level above it; and of the retrieval cache's tokens.
struct RoundAcceptance {
  AcceptanceCurve bottom;
  AcceptanceCurve retrieval;
};

// REQUIRES: a choice.
Round CheapestRound(const RoundChoices& choices, const PassCosts& costs, const RoundAcceptance& acceptance);

}  // namespace triforce
