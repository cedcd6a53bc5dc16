// The flags of speculative decoding, and what is made of them: by flag, or as the plan expects to be fastest.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "offload/plan.h"
#include "offload/speculation_plan.h"
#include "runtime/speculation.h"
#include "runtime/weight_source.h"

namespace CLI {
class App;
}

namespace triforce {

struct SpeculationFlags {
  std::string mode = "auto";
  std::string draft_model;
  std::string draft_shape;  // instead of a draft model
  std::optional<int64_t> gamma, draft_gamma, budget, chunk_size;
  std::string middle = "retrieval";
  std::string reselect = "auto";
  bool pipeline = true;
  bool graphs = true;
  bool reproducible = false;

  bool has_draft() const { return !draft_model.empty() || !draft_shape.empty(); }
};

// The draft of the flags, or nothing.
ModelSource DraftOf(const SpeculationFlags& flags);

// Throws Error (kUsage) where there are two drafts, or a draft's shape beside a model that has weights, which
// `random_weights` denies.
void CheckDraft(const SpeculationFlags& flags, bool random_weights);

// Of the retrieval cache, if there is to be one, and of a chunk, behind a prompt of so many tokens.
int64_t BudgetTokens(const SpeculationFlags& flags, int64_t prompt_tokens);
int64_t ChunkTokens(const SpeculationFlags& flags, int64_t prompt_tokens);

void AddSpeculationFlags(CLI::App& app, SpeculationFlags& flags);

// Chooses what the flags leave open, and tells the plan what it needs to know. `input` is complete but for that.
// Throws Error (kUsage) where flags contradict each other; as reading a draft and MakePlan do.
struct ChosenSpeculation {
  SpeculationOptions options;
  double ms_per_token = 0;  // expected
};
ChosenSpeculation ChooseSpeculation(const SpeculationFlags& flags, PlanInput& input);
// The same for prompts of so many tokens each, which run on one plan: with --reproducible each by its own length,
// whatever the others are; otherwise all alike, by the plan.
std::vector<ChosenSpeculation> ChooseSpeculations(const SpeculationFlags& flags, PlanInput& input,
                                                  std::span<const int64_t> prompt_tokens);

// "hierarchy, gamma 24, draft gamma 1, budget 2801; 20.92 ms per token expected"
std::string Describe(const ChosenSpeculation& chosen, const Plan& plan);

}  // namespace triforce
