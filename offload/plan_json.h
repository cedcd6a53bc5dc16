// A Plan as JSON: what `triforce plan --json` prints and `generate --stats-json` repeats.
#pragma once

#include <nlohmann/json.hpp>

#include "offload/plan.h"

namespace triforce {

// Everything that the plan says; depends on nothing else.
nlohmann::json ToJson(const Plan& plan);

}  // namespace triforce
