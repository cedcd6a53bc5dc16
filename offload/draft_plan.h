// The plan of a draft model: everything on the device that the target's plan is for, beside the target.
#pragma once

#include <cstdint>

#include "offload/plan.h"

namespace triforce {

// Rows of a draft's largest pass.
inline constexpr int64_t kDraftRows = 64;

// What Weights and Forward need to run input.draft on the device. Its KV is a streaming cache and in no plan's layers.
// REQUIRES: input.draft; MakePlan has accepted the input.
Plan MakeDraftPlan(const PlanInput& input);

// What the draft takes of each device, caches for all sequences included; 0 where there is none. Counted up to
// kMostPlanBytes (plan_sizes.h).
int64_t DraftBytes(const PlanInput& input);

}  // namespace triforce
