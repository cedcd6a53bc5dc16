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
  std::optional<int64_t> gamma, draft_gamma;
};

void AddSpeculationFlags(CLI::App& app, SpeculationFlags& flags);

// Throws Error (kUsage) where flags contradict each other.
SpeculationOptions MakeSpeculationOptions(const SpeculationFlags& flags);

}  // namespace triforce
