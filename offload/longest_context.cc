#include "offload/longest_context.h"

#include <algorithm>

#include "kernels/ops/kv_view.h"
#include "offload/placement.h"
#include "offload/speculation_plan.h"

namespace triforce {
namespace {

// The last number from `low` to `high` for which `holds`, given that it holds for all up to there; low - 1: for none.
template <typename Holds>
int64_t Last(int64_t low, int64_t high, const Holds& holds) {
  --low;
  while (low < high) {
    const int64_t middle = low + (high - low + 1) / 2;
    holds(middle) ? low = middle : high = middle - 1;
  }
  return low;
}

}  // namespace

PlanInput WithContext(const PlanInput& input, int64_t context_tokens) {
  PlanInput with = input;
  const ContextRules& rules = input.rules;
  const int64_t prompt = input.context_tokens - input.predict_tokens;
  with.context_tokens = context_tokens;
  with.predict_tokens = rules.output_fills ? std::max<int64_t>(0, context_tokens - prompt)
                                           : std::min(input.predict_tokens, context_tokens);
  if (!rules.budget_by_prompt) return with;
  const int64_t least_chunk = rules.chunk_by_budget ? kKeyTile : input.options.chunk_tokens;
  const int64_t budget =
      std::max(rules.least_budget_tokens, DefaultBudgetTokens(with.context_tokens - with.predict_tokens, least_chunk));
  if (rules.chunk_by_budget) with.options.chunk_tokens = ChunkTokensFor(budget);
  if (input.options.budget_tokens > 0) with.options.budget_tokens = budget;
  return with;
}

int64_t LongestContext(const PlanInput& input) {
  // A longer context needs no less, as long as chunks are as long; where they get longer, it may. So those of each size
  // are searched, the longest first.
  int64_t high = std::max(input.shape.max_positions, input.context_tokens);
  while (high > 0) {
    const auto chunk_at = [&](int64_t tokens) { return WithContext(input, tokens).options.chunk_tokens; };
    const int64_t chunk = chunk_at(high);
    const int64_t shorter = Last(1, high - 1, [&](int64_t tokens) { return chunk_at(tokens) < chunk; });
    const int64_t longest = Last(shorter + 1, high, [&](int64_t tokens) {
      Plan plan;
      return !Place(WithContext(input, tokens), plan).has_value();
    });
    if (longest > shorter) return longest;
    high = shorter;
  }
  return 0;
}

}  // namespace triforce
