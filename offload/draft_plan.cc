#include "offload/draft_plan.h"

#include "kernels/core/check.h"
#include "offload/placement.h"
#include "offload/plan_sizes.h"

namespace triforce {

Plan MakeDraftPlan(const PlanInput& input) {
  TF_CHECK(input.draft.has_value());
  const PlanInput own{.shape = input.draft->shape,
                      .kv_type = input.kv_type,
                      // What it keeps is short, but positions are the text's, and those of what is proposed behind it.
                      .context_tokens = input.context_tokens + kDraftRows,
                      .cpu_device = input.cpu_device,
                      .device_bytes = int64_t{1} << 60,
                      .rates = input.rates,
                      .options = {.prefill_rows = kDraftRows}};
  Plan plan;
  TF_CHECK(!Place(own, plan).has_value());
  return plan;
}

int64_t DraftBytes(const PlanInput& input) {
  if (!input.draft) return 0;
  const TierPlan device = MakeDraftPlan(input).device;
  int64_t bytes = input.batch * StreamingCacheBytes(*input.draft, input.kv_type);
  for (const char* item :
       {"norms and biases", "lm_head", "embedding", "activations", "attention partials", "resident weights"}) {
    bytes += device.BytesOf(item);
  }
  return bytes;
}

}  // namespace triforce
