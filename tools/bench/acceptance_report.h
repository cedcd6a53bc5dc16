// What acceptances came to: as a table, as JSON, and as plots.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>
#include <vector>

#include "tools/bench/acceptance_sweep.h"

namespace triforce {

// "retrieval, budget 1024 (chunks of 8, T 0.6)"
std::string Describe(const AcceptanceCase& of);

// Means and their standard errors, sweep by sweep; retrieval and streaming caches of one budget are also compared text
// by text, so that what makes a text hard does not count.
std::string AcceptanceTable(std::span<const AcceptanceResult> results);

nlohmann::json AcceptanceJson(std::span<const AcceptanceResult> results);

struct NamedPlot {
  std::string file_name, svg;
};
// One for each of temperature, budget and chunk size that was swept, with whiskers of one standard error.
std::vector<NamedPlot> AcceptancePlots(std::span<const AcceptanceResult> results);

}  // namespace triforce
