// The flags of speculative decoding, and what is made of them: by flag, or as the plan expects to be fastest.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "offload/plan.h"
#include "offload/speculation_plan.h"
#include "runtime/speculation.h"

namespace CLI {
class App;
}

namespace triforce {

struct SpeculationFlags {
  std::string mode = "auto";
  std::string draft_model;
  std::optional<int64_t> gamma, draft_gamma, budget, chunk_size;
  std::string middle = "retrieval";
  std::string reselect = "auto";
  bool pipeline = true;
  bool graphs = true;
};

// Of the retrieval cache, if there is to be one, and of a chunk, behind a prompt of so many tokens.
int64_t BudgetTokens(const SpeculationFlags& flags, int64_t prompt_tokens);
int64_t ChunkTokens(const SpeculationFlags& flags, int64_t prompt_tokens);

void AddSpeculationFlags(CLI::App& app, SpeculationFlags& flags);

// Chooses what the flags leave open, and tells the plan what it needs to know. `input` is complete but for that; it may
// have a draft already, if the flags have none.
// Throws Error (kUsage) where flags contradict each other; as reading a draft and MakePlan do.
struct ChosenSpeculation {
  SpeculationOptions options;
  double ms_per_token = 0;  // expected
};
ChosenSpeculation ChooseSpeculation(const SpeculationFlags& flags, PlanInput& input);

// "hierarchy, gamma 24, draft gamma 1, budget 2801; 20.92 ms per token expected"
std::string Describe(const ChosenSpeculation& chosen, const Plan& plan);

}  // namespace triforce
