// SpeculationPlan: which composition of levels a plan expects to be fastest, and with how many proposals.
//
// Acceptance is not known before a run: typical ones are assumed. What is chosen is a pure function of the plan's
// input.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "offload/plan.h"
#include "offload/round_costs.h"

namespace triforce {

// Of proposals that are tested: assumed where nothing has been measured.
struct AcceptanceRates {
  double draft = 0.5;      // of a draft's tokens; llama-68m has .4 against Llama-2, a distilled one .7
  double ngram = 0.2;      // of tokens looked up in the text (novels, demo target: .11 to .25)
  double retrieval = 0.9;  // of the retrieval level's tokens (published: .92 to .96)
};

// What stands below the top level.
struct SpeculationShape {
  bool retrieval = false;
  enum class Bottom { kNone, kDraft, kNgram, kNgramDraft } bottom = Bottom::kNone;
  bool none() const { return !retrieval && bottom == Bottom::kNone; }
  bool drafts() const { return bottom == Bottom::kDraft || bottom == Bottom::kNgramDraft; }
  bool operator==(const SpeculationShape&) const = default;
};

struct SpeculationPlan {
  SpeculationShape shape;
  RoundChoices rounds;          // that a run may choose from
  Round round;                  // of them, which is expected to be the cheapest
  int64_t reselect_tokens = 1;  // accepted between two selections of the retrieval cache's chunks, at least; 0: any
};

struct SpeculationChoices {
  // What is left open is chosen. Where the shape is, a run may do without parts of the one that is chosen.
  std::optional<SpeculationShape> shape;
  std::optional<int64_t> gamma, draft_gamma, reselect_tokens;
  int64_t budget_tokens = 0;  // of a retrieval cache, if there is to be one
  AcceptanceRates acceptance;
};

// The tokens of a chunk where nothing is said: 32, as long as a budget holds some of them. Measured, longer chunks are
// chosen no worse than short ones and cost less: means, selections and lists are shorter, reads longer
// (docs/decisions.md, "Chunks are a tile or several").
int64_t ChunkTokensFor(int64_t budget_tokens);

// The budget of a retrieval cache where nothing is said: a tenth of the prompt, and no less than the fewest chunks of
// `chunk_tokens` that there may be.
int64_t DefaultBudgetTokens(int64_t prompt_tokens, int64_t chunk_tokens);

// The input that a plan for `shape` is made from: `input` with what the shape needs. REQUIRES: input.draft where it
// needs one.
PlanInput InputFor(const PlanInput& input, const SpeculationShape& shape, const SpeculationChoices& choices);

// The fastest of what `choices` leave open: of no speculation, retrieval, and what a draft makes possible if
// input.draft is there. Throws Error as MakePlan does, where not even plain decoding fits.
SpeculationPlan PlanSpeculation(const PlanInput& input, const SpeculationChoices& choices);

// The plan to take, of several: the fastest, or one whose shape has all parts of the fastest's and which costs no
// more than 2 % more, since a run can do without a part and cannot add one. Nothing is added to no speculation at all.
// REQUIRES: one at least; larger shapes stand behind smaller ones.
const SpeculationPlan& Preferred(std::span<const SpeculationPlan> plans);

// What is assumed of a shape's proposers.
RoundAcceptance AssumedAcceptance(const SpeculationShape& shape, const AcceptanceRates& rates);

}  // namespace triforce
