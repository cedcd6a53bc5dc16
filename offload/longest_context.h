// The longest context that fits, for the error of a plan that does not.
#pragma once

#include <cstdint>

#include "offload/plan.h"

namespace triforce {

// `input` for another context: what follows from the context by input.rules follows, everything else stays.
PlanInput WithContext(const PlanInput& input, int64_t context_tokens);

// The longest context, in tokens, whose WithContext MakePlan accepts: one more token does not fit. 0 where none does.
// REQUIRES: MakePlan takes no offence at the input but that it may not fit.
int64_t LongestContext(const PlanInput& input);

}  // namespace triforce
