// A Plan for people: what lies where in a table and in bars, what streams, and how long it should take.
#pragma once

#include <string>

#include "offload/plan.h"

namespace triforce {

// Lines of at most 80 columns. `model`: what the plan is of, for the first line.
std::string PlanPicture(const Plan& plan, const std::string& model);

}  // namespace triforce
