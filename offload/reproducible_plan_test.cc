#include "offload/reproducible_plan.h"

#include <doctest/doctest.h>

namespace triforce {
namespace {

using Bottom = SpeculationShape::Bottom;

ReproducibleSubject Of(const char* shape, int64_t prompt_tokens) {
  return {.shape = *NamedShape(shape),
          .draft = DraftInput{.shape = *NamedShape("llama-68m")},
          .prompt_tokens = prompt_tokens};
}

TEST_CASE("reproducible: the hierarchy behind a long prompt, no retrieval passes behind a short one") {
  const ReproduciblePlan longest = PlanReproducibly(Of("llama2-7b", 120000), {.budget_tokens = 12000});
  CHECK(longest.speculation.shape == SpeculationShape{true, Bottom::kDraft});
  CHECK(longest.speculation.round.retrieval);
  CHECK(longest.speculation.round.gamma > 8);
  CHECK(longest.costs.draft_ms > 0);
  CHECK(longest.costs.prefetch_ms > 0);  // KV streams
  const ReproduciblePlan shortest = PlanReproducibly(Of("llama2-7b", 20), {.budget_tokens = 512});
  CHECK_FALSE(shortest.speculation.round.retrieval);
  CHECK(shortest.costs.verify_ms[0] < longest.costs.verify_ms[0]);
}

TEST_CASE("reproducible: what is fixed stays; a text longer than the model was made for has numbers, too") {
  const ReproduciblePlan fixed =
      PlanReproducibly(Of("llama2-7b", 1000000), {.shape = SpeculationShape{true, Bottom::kDraft},
                                                  .gamma = 5,
                                                  .draft_gamma = 3,
                                                  .reselect_tokens = 7,
                                                  .budget_tokens = 4096,
                                                  .acceptance = {}});
  CHECK(fixed.speculation.round.gamma == 5);
  CHECK(fixed.speculation.round.draft_gamma == 3);
  CHECK(fixed.speculation.reselect_tokens == 7);
}

TEST_CASE("reproducible: a budget is a tenth of the prompt, or 512 tokens, or 16 chunks") {
  CHECK(ReproducibleBudget(120000, 32) == 12000);
  CHECK(ReproducibleBudget(1, 32) == 512);
  CHECK(ReproducibleBudget(1, 64) == 1024);
}

}  // namespace
}  // namespace triforce
