#include "offload/reproducible_plan.h"

#include <algorithm>

#include "kernels/core/check.h"

namespace triforce {
namespace {

constexpr int64_t kNoLimit = int64_t{1} << 50;
// The output, whatever --predict says: a longer text begins like a shorter one.
constexpr int64_t kOutputTokens = 256;
constexpr int64_t kLeastBudget = 512, kLeastChunks = 16;

// Between a CPU's rates and an RTX 4090's (rates.h), by their proportions to the rate at which memory is read: of
// arithmetic 6 and 165 operations a byte. An op's own cost is that of the bytes read in 3 us, a CPU's 0.3 MB, since a
// GPU's 2.7 MB only count for models that are small for it. The link is at the geometric mean of a 4090's, a 36th of
// what it reads, and of having all KV on the device.
Rates NominalRates() {
  return {.device_read_gbps = 100,
          .matmul_gflops = 3000,
          .attention_gflops = 2000,
          .op_us = 3,
          .link_to_device_gbps = 100.0 / 6,
          .link_to_host_gbps = 100.0 / 6,
          .link_both_gbps = 100.0 / 6,
          .compute_share_copying = 0.8,
          .host_read_gbps = 100,
          .disk_read_gbps = 10,
          .disk_write_gbps = 10,
          .all_reduce_us = 3,
          .source = "nominal"};
}

PlanInput NominalInput(const ReproducibleSubject& subject) {
  PlanInput input{.shape = subject.shape,
                  .draft = subject.draft,
                  .kv_type = subject.kv_type,
                  .context_tokens = subject.prompt_tokens + kOutputTokens,
                  .predict_tokens = kOutputTokens,
                  .cpu_device = false,
                  .device_bytes = kNoLimit,
                  .host_bytes = kNoLimit,
                  .rates = NominalRates()};
  // A text may be longer than the model was made for; whether it may is not decided here.
  input.shape.max_positions = std::max(input.shape.max_positions, input.context_tokens);
  input.options.chunk_tokens = subject.chunk_tokens;
  input.options.resident_kv_bytes = 0;
  return input;
}

}  // namespace

int64_t ReproducibleBudget(int64_t prompt_tokens, int64_t chunk_tokens) {
  return std::max({DefaultBudgetTokens(prompt_tokens, chunk_tokens), kLeastBudget, kLeastChunks * chunk_tokens});
}

ReproduciblePlan PlanReproducibly(const ReproducibleSubject& subject, const SpeculationChoices& choices) {
  TF_CHECK(choices.budget_tokens > 0);
  const PlanInput input = NominalInput(subject);
  ReproduciblePlan plan{.speculation = PlanSpeculation(input, choices), .costs = {}};
  plan.costs = CostsOf(MakePlan(InputFor(input, plan.speculation.shape, choices)));
  return plan;
}

}  // namespace triforce
