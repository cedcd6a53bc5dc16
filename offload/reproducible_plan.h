// ReproduciblePlan: mode, budget, chunk size, reselection and costs of passes as `--reproducible` has them: the one
// place that says them.
//
// They are what the plan's own search finds for one sequence on a nominal machine: its rates stand between those of a
// PC's processor and of an RTX 4090 (rates.h), memory does not end, and all KV streams over a link that stands between
// PCIe and having the KV on the device. No machine is like that, but its numbers lose little on those that are
// (docs/speculation.md, "What repeats"). So what is chosen follows from the model's and the draft's shape, the KV's
// type, the prompt's length and what a person has fixed; not from the machine, its limits and rates, nor from the other
// sequences of a batch. Rounds then adapt to what is accepted, which follows from text and seed, at the nominal
// machine's costs.
//
// Pure functions. That the numbers fit the machine at hand is for MakePlan to say.
#pragma once

#include <cstdint>
#include <optional>

#include "offload/plan.h"
#include "offload/round_costs.h"
#include "offload/speculation_plan.h"

namespace triforce {

// The tokens of a chunk, whatever the prompt's length: all sequences of a batch share one size.
inline constexpr int64_t kReproducibleChunkTokens = 32;
// The largest SpeculationChoices::reselect_tokens: chunks that were chosen longer ago may have to be chosen anew
// because the tail was folded, and when it is, is a matter of memory.
inline constexpr int64_t kMostReproducibleReselect = 256;

// The tokens of a retrieval cache for a prompt of so many: a tenth of them, 16 chunks or 512 tokens at least.
int64_t ReproducibleBudget(int64_t prompt_tokens, int64_t chunk_tokens);

struct ReproducibleSubject {
  ModelShape shape;
  std::optional<DraftInput> draft;
  DType kv_type = DType::kF16;
  int64_t prompt_tokens = 0;
  int64_t chunk_tokens = kReproducibleChunkTokens;
};

struct ReproduciblePlan {
  SpeculationPlan speculation;
  PassCosts costs;  // of the nominal machine, with the parts that the plan's shape needs
};

// REQUIRES: choices.budget_tokens > 0; a draft where choices.shape needs one.
ReproduciblePlan PlanReproducibly(const ReproducibleSubject& subject, const SpeculationChoices& choices);

}  // namespace triforce
