// The longest context that fits: it fits by itself, and one more token does not, in every mode.
#include "offload/longest_context.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "kernels/core/error.h"
#include "offload/plan_testing.h"
#include "offload/speculation_plan.h"

namespace triforce {
namespace {

using Bottom = SpeculationShape::Bottom;

constexpr int64_t kGiB = int64_t{1} << 30;

// Nothing: the plan chooses.
const std::optional<SpeculationShape> kModes[] = {std::nullopt,
                                                  SpeculationShape{},
                                                  SpeculationShape{false, Bottom::kDraft},
                                                  SpeculationShape{true, Bottom::kNone},
                                                  SpeculationShape{true, Bottom::kDraft},
                                                  SpeculationShape{false, Bottom::kNgram},
                                                  SpeculationShape{true, Bottom::kNgram},
                                                  SpeculationShape{false, Bottom::kNgramDraft},
                                                  SpeculationShape{true, Bottom::kNgramDraft}};

// What a command makes of flags that say nothing of budget and chunks: its input for a context, by itself.
struct Command {
  PlanInput base;
  std::optional<SpeculationShape> mode;
  std::optional<int64_t> budget, chunk;
  std::optional<int64_t> prompt;  // of a text that goes on until the context is full; otherwise 256 tokens are output

  // Empty where it fits, otherwise the error.
  std::string Plan(int64_t context) const {
    PlanInput input = base;
    input.context_tokens = context;
    input.predict_tokens = prompt ? context - *prompt : std::min<int64_t>(256, context);
    const int64_t of_prompt = (input.context_tokens - input.predict_tokens) / 10;
    const int64_t budget_tokens = budget.value_or(std::max(4 * chunk.value_or(8), of_prompt));
    input.options.chunk_tokens = chunk.value_or(ChunkTokensFor(budget_tokens));
    input.rules = {
        .output_fills = prompt.has_value(), .budget_by_prompt = !budget, .chunk_by_budget = !budget && !chunk};
    const SpeculationChoices choices{.shape = mode, .budget_tokens = budget_tokens};
    try {
      const SpeculationPlan found = PlanSpeculation(input, choices);
      MakePlan(InputFor(input, found.shape, choices));
      return "";
    } catch (const Error& error) {
      REQUIRE(error.kind() == ErrorKind::kOutOfMemory);
      return error.what();
    }
  }

  // What the error for `context` says; 0: nothing fits.
  int64_t LongestFor(int64_t context) const {
    const std::string error = Plan(context), before = "The longest context that fits is ";
    REQUIRE(error != "");
    const size_t at = error.find(before);
    return at == std::string::npos ? 0 : std::stoll(error.substr(at + before.size()));
  }

  void CheckLongest(int64_t asked) const {
    const int64_t longest = LongestFor(asked);
    CAPTURE(longest);
    REQUIRE(longest < base.shape.max_positions);
    if (longest > 0) CHECK(Plan(longest) == "");
    if (longest >= prompt.value_or(0)) CHECK(Plan(longest + 1) != "");
  }
};

PlanInput Llama7b(int64_t device_bytes, int64_t host_bytes) {
  PlanInput input = On4090("llama2-7b", 131072, host_bytes);
  input.draft = DraftInput{.shape = *NamedShape("llama-68m")};
  input.device_bytes = device_bytes;
  return input;
}

TEST_CASE("the longest context has the budget and the chunks that it would get by itself: in every mode") {
  for (const auto& [device_bytes, host_bytes] :
       {std::pair{8 * kGiB, 24 * kGiB}, {4 * kGiB, 40 * kGiB}, {24 * kGiB, 16 * kGiB}, {12 * kGiB, int64_t{0}}}) {
    for (size_t i = 0; i < std::size(kModes); ++i) {
      CAPTURE(i);
      CAPTURE(device_bytes);
      Command{.base = Llama7b(device_bytes, host_bytes), .mode = kModes[i]}.CheckLongest(131072);
    }
  }
  // A budget of 13,081 tokens takes 6.4 GiB of these 8, one of 3,100 tokens 1.5.
  const int64_t longest =
      Command{.base = Llama7b(8 * kGiB, 24 * kGiB), .mode = SpeculationShape{true, Bottom::kNone}}.LongestFor(131072);
  CHECK(longest > 31000);
  CHECK(longest < 31400);
}

TEST_CASE("what is fixed stays fixed while the longest context is looked for") {
  const PlanInput base = Llama7b(8 * kGiB, 24 * kGiB);
  const SpeculationShape retrieval{true, Bottom::kNone};
  Command{.base = base, .mode = retrieval, .budget = 8000}.CheckLongest(131072);
  Command{.base = base, .mode = retrieval, .chunk = 64}.CheckLongest(131072);
  Command{.base = base, .mode = retrieval, .budget = 1024, .chunk = 8}.CheckLongest(131072);
  const Command filling{.base = base, .mode = retrieval, .prompt = 20000};
  filling.CheckLongest(131072);
  CHECK(filling.LongestFor(131072) > 20000);
  // A prompt that is too long by itself: how long it might be.
  const Command too_long{.base = base, .mode = retrieval, .prompt = 60000};
  CHECK(too_long.LongestFor(131072) < 60000);
}

// Budgets of 256 and 512 tokens are where chunks get longer, and a prompt needs less than a shorter one.
TEST_CASE("around prompts at which chunks get longer, too, and nothing longer fits") {
  constexpr uint64_t kSeed = 5;
  CAPTURE(kSeed);
  std::mt19937_64 random(kSeed);
  const auto from = [&](int64_t low, int64_t high) { return std::uniform_int_distribution(low, high)(random); };
  int longer_chunks = 0;
  for (int i = 0; i < 150; ++i) {
    CAPTURE(i);
    PlanInput base = On4090("tiny", 20000, from(0, 1) * from(0, 8 << 20));
    base.shape.head_dim = 8 << from(0, 3);
    base.shape.max_positions = 20000;
    base.draft = DraftInput{.shape = *NamedShape("tiny")};
    base.cpu_device = true;
    Command command{.base = base, .mode = kModes[from(0, 1) * from(0, std::size(kModes) - 1)]};
    command.base.device_bytes = kGiB;
    PlanInput all = WithContext(command.base, from(1000, 8000));
    command.base.device_bytes = MakePlan(all).device.used_bytes() + from(-100'000, 1'000'000);
    if (command.Plan(20000).empty()) continue;
    const int64_t longest = command.LongestFor(20000);
    CAPTURE(longest);
    if (longest > 0) REQUIRE(command.Plan(longest) == "");
    longer_chunks += longest > 2560 + 256 && longest < 20000;
    REQUIRE(command.Plan(longest + 1) != "");
    for (int k = 0; k < 8; ++k) REQUIRE(command.Plan(from(longest + 1, 20000)) != "");
  }
  CHECK(longer_chunks > 30);
}

}  // namespace
}  // namespace triforce
