#include "offload/speculation_plan.h"

#include <doctest/doctest.h>

#include <array>

#include "kernels/core/error.h"
#include "offload/plan_testing.h"

namespace triforce {
namespace {

using Bottom = SpeculationShape::Bottom;

TEST_CASE("where KV streams, the hierarchy; the slower the link, the more is proposed, and the longer a token takes") {
  int64_t gamma = 0;
  double ms = 0;
  for (const double gbps : {24.0, 6.0, 1.0}) {
    PlanInput input = SpeculatingOn4090();
    input.link_gbps = gbps;
    const SpeculationPlan plan = PlanSpeculation(input, {.budget_tokens = 12000});
    CHECK(plan.shape == SpeculationShape{true, Bottom::kDraft});
    CHECK(plan.round.gamma >= gamma);
    CHECK(plan.round.ms_per_token > ms);
    CHECK(plan.round.ms_per_token < MakePlan(InputFor(input, {}, {})).times.decode_ms / 3);
    gamma = plan.round.gamma;
    ms = plan.round.ms_per_token;
  }
}

TEST_CASE("what is fixed stays; what is not there is not chosen") {
  const PlanInput input = SpeculatingOn4090();
  const SpeculationPlan fixed =
      PlanSpeculation(input, {.gamma = 5, .draft_gamma = 3, .budget_tokens = 12000, .acceptance = {}});
  CHECK(fixed.round.gamma == 5);
  CHECK(fixed.round.draft_gamma == 3);
  PlanInput without = input;
  without.draft.reset();
  CHECK(PlanSpeculation(without, {.budget_tokens = 12000}).shape == SpeculationShape{true, Bottom::kNone});
  CHECK(PlanSpeculation(without, {.budget_tokens = 0}).shape.none());
  const SpeculationPlan none = PlanSpeculation(input, {.shape = SpeculationShape{}, .budget_tokens = 12000});
  CHECK(none.shape.none());
  CHECK(none.round.gamma == 0);
}

TEST_CASE("chunks are long where the budget holds enough of them") {
  CHECK(ChunkTokensFor(12000) == 32);
  CHECK(ChunkTokensFor(512) == 32);
  CHECK(ChunkTokensFor(511) == 16);
  CHECK(ChunkTokensFor(255) == 8);
  CHECK(ChunkTokensFor(0) == 8);
}

TEST_CASE("memory that nothing else wants deepens the ring, up to half of what streams") {
  PlanInput input = SpeculatingOn4090();
  input.context_tokens = 12000;
  input.options.resident_kv_bytes = 0;
  const SpeculationChoices choices{.budget_tokens = 1024};
  const auto ring_share = [&](const PlanInput& of) {
    const Plan plan = MakePlan(InputFor(of, {true, Bottom::kDraft}, choices));
    return static_cast<double>(plan.ring.slots * plan.ring.slot_bytes) /
           static_cast<double>(plan.StreamedBytesPerPass());
  };
  const double deep = ring_share(input);
  CHECK(deep < 0.55);
  CHECK(deep > 0.45);
  PlanInput short_of_memory = input;
  short_of_memory.device_bytes = int64_t{17} << 30;
  CHECK(ring_share(short_of_memory) < 0.9 * deep);
  input.options.pipeline = false;
  CHECK(ring_share(input) < 0.2);
}

TEST_CASE("a lookup beside a draft is planned as the draft alone") {
  const auto plan = [](SpeculationShape::Bottom bottom) {
    return PlanSpeculation(SpeculatingOn4090(), {.shape = SpeculationShape{true, bottom}, .budget_tokens = 12000});
  };
  const SpeculationPlan draft = plan(Bottom::kDraft), both = plan(Bottom::kNgramDraft);
  CHECK(both.round.gamma == draft.round.gamma);
  CHECK(both.round.draft_gamma == draft.round.draft_gamma);
  CHECK(both.round.ms_per_token == draft.round.ms_per_token);
  CHECK(InputFor(SpeculatingOn4090(), both.shape, {}).draft);
}

TEST_CASE("chunks are chosen anew so often that it takes a small part of the time, or as was said") {
  const PlanInput input = SpeculatingOn4090();
  const SpeculationShape hierarchy{true, Bottom::kDraft};
  const SpeculationPlan plan = PlanSpeculation(input, {.shape = hierarchy, .budget_tokens = 12000});
  const double reselect_ms = CostsOf(MakePlan(InputFor(input, hierarchy, {.budget_tokens = 12000}))).reselect_ms;
  CHECK(plan.reselect_tokens > 1);
  CHECK(reselect_ms / static_cast<double>(plan.reselect_tokens) < 0.05 * plan.round.ms_per_token);
  CHECK(PlanSpeculation(input, {.shape = hierarchy, .reselect_tokens = 7, .budget_tokens = 12000}).reselect_tokens ==
        7);
}

TEST_CASE("the better proposals are, the more of them, and the shorter a token takes") {
  const PlanInput input = SpeculatingOn4090();
  int64_t gamma = 0;
  double ms = 1e9;
  for (const double acceptance : {0.3, 0.6, 0.9, 0.97}) {
    const SpeculationPlan plan = PlanSpeculation(input, {.shape = SpeculationShape{true, Bottom::kDraft},
                                                         .budget_tokens = 12000,
                                                         .acceptance = {.retrieval = acceptance}});
    CHECK(plan.round.gamma >= gamma);
    CHECK(plan.round.ms_per_token < ms);
    gamma = plan.round.gamma;
    ms = plan.round.ms_per_token;
  }
  CHECK(gamma > 8);
}

// Each with the time of a token.
SpeculationPlan Taking(SpeculationShape shape, double ms_per_token) {
  return {.shape = shape, .rounds = {}, .round = {.gamma = 4, .ms_per_token = ms_per_token}};
}

TEST_CASE("the 2 % for a larger mode is given once, over the fastest, and only to one that has all its parts") {
  constexpr SpeculationShape kNone{}, kDraft{false, Bottom::kDraft}, kRetrieval{true, Bottom::kNone},
      kHierarchy{true, Bottom::kDraft};
  const auto preferred = [&](double none, double draft, double retrieval, double hierarchy) {
    const SpeculationPlan plans[] = {Taking(kNone, none), Taking(kDraft, draft), Taking(kRetrieval, retrieval),
                                     Taking(kHierarchy, hierarchy)};
    return Preferred(plans).shape;
  };
  CHECK(preferred(200, 100, 101.9, 103.9) == kDraft);  // not 2 % and 2 % more
  CHECK(preferred(200, 100, 101.9, 150) == kDraft);    // retrieval has no draft
  CHECK(preferred(200, 101.9, 100, 150) == kRetrieval);
  CHECK(preferred(200, 100, 150, 101.9) == kHierarchy);
  CHECK(preferred(200, 150, 100, 101.9) == kHierarchy);
  CHECK(preferred(200, 100, 101, 101.9) == kHierarchy);
  CHECK(preferred(200, 100, 99, 101.5) == kRetrieval);  // 2.5 % more than the fastest
  CHECK(preferred(100, 100.5, 101, 101) == kNone);      // nothing is added to none
  CHECK(Preferred(std::array{Taking(kNone, 1)}).shape == kNone);
}

TEST_CASE("a draft that never guesses right is not worth its time where nothing streams") {
  PlanInput input = SpeculatingOn4090();
  input.context_tokens = 2000;
  const SpeculationPlan plan =
      PlanSpeculation(input, {.budget_tokens = 0, .acceptance = {.draft = 0.0, .ngram = 0, .retrieval = 0}});
  CHECK(plan.shape.none());
}

TEST_CASE("what speculation needs is in the plan's bytes; what does not fit with it is done without") {
  PlanInput input = SpeculatingOn4090();
  const SpeculationShape hierarchy{true, Bottom::kDraft};
  const Plan with = MakePlan(InputFor(input, hierarchy, {.gamma = 16, .budget_tokens = 12000, .acceptance = {}}));
  CHECK(with.device.BytesOf("draft") > int64_t{130} << 20);  // 68 million parameters in f16
  // 12,000 tokens of 512 KiB, in whole blocks.
  CHECK(with.device.BytesOf("guest pool") >= 12000 * (int64_t{512} << 10));
  CHECK(with.device.BytesOf("guest pool") <= 12288 * (int64_t{512} << 10) + 32 * 256);
  // A mean of 8 keys for each of 120,000 tokens, half of KV being keys.
  CHECK(with.device.BytesOf("chunk means") >= 120000 / 8 * (int64_t{256} << 10));
  CHECK(with.device.used_bytes() <= input.device_bytes);
  int64_t low = 0, high = input.device_bytes;  // the least memory for plain decoding
  while (high - low > 1) {
    input.device_bytes = (low + high) / 2;
    bool fits = true;
    try {
      MakePlan(InputFor(input, {}, {}));
    } catch (const Error&) {
      fits = false;
    }
    (fits ? high : low) = input.device_bytes;
  }
  input.device_bytes = high;
  CHECK(PlanSpeculation(input, {.budget_tokens = 12000}).shape.none());
  CHECK_THROWS_AS(PlanSpeculation(input, {.shape = hierarchy, .budget_tokens = 12000}), Error);
}

}  // namespace
}  // namespace triforce
