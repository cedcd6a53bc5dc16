// The flags of speculative decoding, and what they say of a run.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "runtime/speculation.h"

namespace CLI {
class App;
}

namespace triforce {

struct SpeculationFlags {
  std::string mode = "auto";
  std::string draft_model;
  std::optional<int64_t> gamma, draft_gamma, budget;
  int64_t chunk_size = 8;
  std::string middle = "retrieval";
  std::string reselect = "every";
};

void AddSpeculationFlags(CLI::App& app, SpeculationFlags& flags);

// Throws Error (kUsage) where flags contradict each other.
SpeculationOptions MakeSpeculationOptions(const SpeculationFlags& flags);

// What the plan has to know of them. `prompt_tokens`: how long the prompt is, for the default budget.
void AddToPlan(const SpeculationFlags& flags, const SpeculationOptions& options, int64_t prompt_tokens,
               PlanInput& input);

}  // namespace triforce
