#include "offload/draft_plan.h"

#include <optional>
#include <utility>

#include "kernels/core/check.h"
#include "kernels/core/checked_int.h"
#include "offload/placement.h"
#include "offload/plan_sizes.h"

namespace triforce {

namespace {

// Nothing where the draft is larger than anybody counts.
std::optional<Plan> PlanDraft(const PlanInput& input) {
  TF_CHECK(input.draft.has_value());
  const PlanInput own{.shape = input.draft->shape,
                      .kv_type = input.kv_type,
                      // What it keeps is short, but positions are the text's, and those of what is proposed behind it.
                      .context_tokens = input.context_tokens + kDraftRows,
                      .cpu_device = input.cpu_device,
                      .device_bytes = int64_t{1} << 58,  // whatever there is
                      .rates = input.rates,
                      .options = {.prefill_rows = kDraftRows}};
  Plan plan;
  if (Place(own, plan)) return std::nullopt;
  return plan;
}

}  // namespace

Plan MakeDraftPlan(const PlanInput& input) {
  std::optional<Plan> plan = PlanDraft(input);
  TF_CHECK(plan.has_value());
  return *std::move(plan);
}

int64_t DraftBytes(const PlanInput& input) {
  if (!input.draft) return 0;
  const std::optional<Plan> plan = PlanDraft(input);
  if (!plan) return kMostPlanBytes;
  CheckedInt bytes = CheckedInt(input.batch) * StreamingCacheBytes(*input.draft, input.kv_type);
  for (const char* item :
       {"norms and biases", "lm_head", "embedding", "activations", "attention partials", "resident weights"}) {
    bytes += plan->device.BytesOf(item);
  }
  return bytes.Capped(kMostPlanBytes);
}

}  // namespace triforce
