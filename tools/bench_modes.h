// BenchModes: the modes that `triforce bench` knows, and the configurations made of them and of sweeps.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tools/bench_measurement.h"

namespace triforce {

struct BenchModeFlags {
  std::vector<std::string> modes;  // empty: the default ones
  std::vector<double> temperatures;
  std::vector<int64_t> budgets;
  bool has_draft = false;
};

inline constexpr const char* kPlainResident = "plain resident";
inline constexpr const char* kPlainOffloaded = "plain offloaded";

// Names of all modes, those that run without --modes first.
std::vector<std::string> BenchModeNames();

struct BenchChoice {
  std::vector<BenchConfiguration> configurations;  // each once, those of sweeps last
  std::vector<std::string> left_out;               // default modes that need a draft, where there is none
};

// Throws Error (kUsage) for a mode that is not known, or that is named (or swept) and needs a draft where there is
// none.
BenchChoice ChooseConfigurations(const BenchModeFlags& flags);

}  // namespace triforce
