// Wherever weights and KV lie, the same tokens and the same logits, bit for bit; what crosses the link, crosses once.
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <iterator>
#include <string>
#include <vector>

#include "kernels/core/error.h"
#include "kernels/core/lane.h"
#include "runtime/device_testing.h"
#include "runtime/engine.h"
#include "runtime/offload_testing.h"

namespace triforce {
namespace {

// A run: the logits behind the prompt, then those of greedy steps, then those of a pass of several rows.
struct Outcome {
  std::vector<TokenId> tokens;
  std::vector<float> logits;
  bool operator==(const Outcome& other) const {
    return tokens == other.tokens && logits.size() == other.logits.size() &&
           std::memcmp(logits.data(), other.logits.data(), logits.size() * sizeof(float)) == 0;
  }
};

Outcome RunOn(Engine& engine, const Workload& work) {
  const auto session = engine.NewSession();
  const auto vocab = static_cast<int32_t>(engine.config().vocab);
  Outcome outcome;
  const auto keep = [&](const TensorView& logits) {
    const std::vector<float> values = ReadFloats(engine.lane(), logits);
    outcome.logits.insert(outcome.logits.end(), values.begin(), values.end());
    const auto row = values.end() - vocab;
    return TokenId{static_cast<int32_t>(std::max_element(row, values.end()) - row)};
  };
  TokenId token = keep(session->Append(Tokens(work.prompt, vocab)));
  for (int64_t i = 0; i < work.steps; ++i) {
    outcome.tokens.push_back(token);
    token = keep(session->Append({&token, 1}));
  }
  session->AppendWithLogits(Tokens(work.rows, vocab), [&](const TensorView& logits, int64_t) { keep(logits); });
  return outcome;
}

// All placements; in the simulator four: KV and weights streamed, three tiers, a ring of eight slots, spilled hidden
// states.
std::vector<std::pair<std::string, EngineOptions>> PlacementsOf(const Workload& work) {
  const std::vector<std::pair<std::string, EngineOptions>> all = Placements(Options(work));
  if (!SmallTests() || TestDevice() == "cpu") return all;
  return {all[2], all[5], all[8], all[11]};
}

void CheckPlacements(const Workload& work) {
  Engine resident(Options(work));
  REQUIRE_FALSE(resident.plan().streams_kv());
  const Outcome expected = RunOn(resident, work);
  for (const auto& [name, options] : PlacementsOf(work)) {
    CAPTURE(name);
    Engine engine(options);
    CHECK(RunOn(engine, work) == expected);
    if (options.plan.disk_bytes > 0) CHECK(RunOn(engine, work) == expected);  // and again: nothing of the first is left
  }
}

TEST_CASE("every placement gives the same bits: a prompt of several blocks on the demo target") {
  CheckPlacements({.model = kDemo, .prompt = SmallTests() ? 1100 : 1700, .steps = SmallTests() ? 1 : 4, .rows = 9});
}

TEST_CASE("every placement gives the same bits: a tail that is folded into the store more than once") {
  CheckPlacements({.model = kDemo, .prompt = 600, .steps = 2, .rows = SmallTests() ? 1300 : 1900});
}

TEST_CASE("a verify pass of 1 to 64 rows gives each row the bits of a step of its own, in every placement") {
  const Workload work{.model = kDemo, .prompt = SmallTests() ? 600 : 1100, .steps = SmallTests() ? 17 : 64, .rows = 0};
  std::vector<float> expected;  // [64, vocab]
  const auto check = [&](const EngineOptions& options) {
    Engine engine(options);
    const auto session = engine.NewSession();
    const auto vocab = static_cast<int32_t>(engine.config().vocab);
    const std::vector<TokenId> tokens = Tokens(work.steps, vocab, 3);
    session->Append(Tokens(work.prompt, vocab));
    if (expected.empty()) {
      for (const TokenId& token : tokens) {
        const std::vector<float> logits = ReadFloats(engine.lane(), session->Append({&token, 1}));
        expected.insert(expected.end(), logits.begin(), logits.end());
      }
      session->Rewind(work.prompt);
    }
    for (int64_t rows = 1; rows <= work.steps; rows += SmallTests() ? 8 : 1) {
      const std::vector<float> logits = ReadFloats(engine.lane(), session->Verify(std::span(tokens).first(rows), rows));
      CHECK(std::memcmp(logits.data(), expected.data(), logits.size() * sizeof(float)) == 0);
      session->Rewind(work.prompt);
    }
  };
  check(Options(work));
  for (const auto& [name, options] : PlacementsOf(work)) {
    CAPTURE(name);
    check(options);
  }
}

TEST_CASE("device memory from everything down to the least that the plan accepts: the same bits, the limit held") {
  const Workload work{.model = kDemo, .prompt = SmallTests() ? 1100 : 2200, .steps = SmallTests() ? 1 : 4, .rows = 3};
  EngineOptions options = Options(work);
  if (SmallTests()) options.plan.options.slots = 2;  // or the ring would take more than there is to stream
  const Outcome expected = [&] {
    Engine engine(options);
    return RunOn(engine, work);
  }();
  const auto fits = [&](int64_t bytes) {
    PlanInput input = CompletePlanInput(options);
    input.device_bytes = bytes;
    try {
      MakePlan(input);
      return true;
    } catch (const Error&) {
      return false;
    }
  };
  int64_t low = 0, high = 4 * kGiB;
  while (high - low > 1) (fits((low + high) / 2) ? high : low) = (low + high) / 2;
  const int64_t least = high;
  int64_t streamed = -1;
  for (const double share : {0.0, 0.01, 0.3, 0.6, 0.9}) {
    if (SmallTests() && share > 0 && share < 0.5) continue;
    options.plan.device_bytes = least + static_cast<int64_t>(share * static_cast<double>(16 << 20));
    CAPTURE(options.plan.device_bytes);
    Engine engine(options);
    CHECK(RunOn(engine, work) == expected);
    CHECK(engine.peak_bytes().device <= options.plan.device_bytes);
    if (streamed < 0) CHECK(engine.plan().streams_kv());
    streamed = engine.plan().StreamedBytesPerPass();
  }
  CHECK_THROWS_WITH_AS(
      [&] {
        options.plan.device_bytes = least - 1;
        Engine engine(options);
      }(),
      doctest::Contains("are missing"), Error);
}

TEST_CASE("prompts in blocks of 1, 7, 64 and all rows: the same bits behind them") {
  const Workload work{.model = kTiny, .prompt = 480, .steps = 5, .rows = 8};
  std::vector<Outcome> outcomes;
  for (const int64_t rows : {64, 1, 7, 512}) {
    if (rows > 64 && !OneClass()) continue;
    for (const bool offloaded : {false, true}) {
      EngineOptions options = Options(work);
      options.plan.options.prefill_rows = rows;
      if (offloaded) options.plan.options = With(options.plan.options, 0, 0);
      Engine engine(options);
      outcomes.push_back(RunOn(engine, work));
      CAPTURE(rows);
      CHECK(outcomes.back() == outcomes.front());
    }
  }
}

TEST_CASE("prefill brings each weight in and each byte of KV out once; a step brings in what the plan says") {
  const Workload work{.model = kDemo, .prompt = SmallTests() ? 1100 : 2700, .steps = SmallTests() ? 2 : 4, .rows = 1};
  for (const bool on_disk : {false, true}) {
    EngineOptions options = Options(work);
    options.plan.options = on_disk ? With(options.plan.options, 0, 0, 0, 0) : With(options.plan.options, 0, 0);
    options.plan.disk_bytes = on_disk ? kGiB : 0;
    options.plan.predict_tokens = work.steps + work.rows;
    Engine engine(options);
    const Plan& plan = engine.plan();
    int64_t weights = 0;
    for (const LayerPlan& layer : plan.layers) weights += layer.StreamedWeightBytes();
    const int64_t kv = plan.StreamedBytesPerPass() - weights;
    const auto session = engine.NewSession();
    const auto vocab = static_cast<int32_t>(engine.config().vocab);
    session->Append(Tokens(work.prompt, vocab));
    engine.lane().Synchronize();
    const TransferCounters after_prefill = engine.transfers();
    CHECK(after_prefill.bytes(Direction::kDeviceToHost, Purpose::kKv) == kv);
    CHECK(after_prefill.bytes(Direction::kDiskWrite, Purpose::kKv) == (on_disk ? kv : 0));
    // The first slots of the first pass are on their way already.
    const int64_t ahead = plan.ring.slots * plan.ring.slot_bytes;
    const int64_t weights_in = after_prefill.bytes(Direction::kHostToDevice, Purpose::kWeights);
    CHECK(weights_in >= weights);
    CHECK(weights_in + after_prefill.bytes(Direction::kHostToDevice, Purpose::kKv) <= weights + ahead);
    for (int64_t i = 0; i < work.steps; ++i) session->Append(Tokens(1, vocab));
    const int64_t in = engine.transfers().bytes(Direction::kHostToDevice) -
                       after_prefill.bytes(Direction::kHostToDevice) -
                       engine.transfers().bytes(Direction::kHostToDevice, Purpose::kEmbedding) +
                       after_prefill.bytes(Direction::kHostToDevice, Purpose::kEmbedding);
    CHECK(in == work.steps * plan.StreamedBytesPerPass());
    CHECK(engine.transfers().bytes(Direction::kDeviceToHost) == after_prefill.bytes(Direction::kDeviceToHost));
  }
}

// A prompt, two tokens by Append, and three passes over three tokens each, behind retrieval passes if there are chunks.
TEST_CASE("what crosses the link is what the passes need: nothing is sent ahead that is then dropped") {
  constexpr int64_t kPrompt = 1100, kRounds = 3, kRows = 3, kPasses = 2 + kRounds;
  const LongModel model(kTiny);
  for (const bool pipeline : {true, false}) {
    for (const bool retrieval : {true, false}) {
      CAPTURE(pipeline);
      CAPTURE(retrieval);
      EngineOptions options = Options({.model = model.path().c_str(), .prompt = kPrompt, .steps = 20, .rows = 0});
      options.plan.options.resident_kv_bytes = 0;
      options.plan.options.slots = 2;
      options.plan.options.slot_bytes = 1 << 13;
      options.plan.options.pipeline = pipeline;
      options.plan.options.budget_tokens = retrieval ? 64 : 0;
      Engine engine(options);
      const int64_t pass_bytes = engine.plan().StreamedBytesPerPass();
      REQUIRE(pass_bytes > engine.plan().ring.slots * engine.plan().ring.slot_bytes);
      const std::vector<TokenId> text = Tokens(kPrompt + 2 + kRounds * kRows, 320);
      auto session = engine.NewSession();
      session->Append(std::span(text).first(kPrompt));
      for (int64_t i = kPrompt; i < kPrompt + 2; ++i) session->Append(std::span(text).subspan(i, 1));
      if (retrieval) session->EnableRetrieval({});
      for (int64_t i = kPrompt + 2; i < std::ssize(text); i += kRows) {
        const auto rows = std::span(text).subspan(i, kRows);
        if (retrieval) session->RetrievalPass(rows, 1);
        session->Verify(rows, 1);
      }
      const TransferCounters& transfers = engine.transfers();
      CHECK(transfers.unused_bytes() == 0);
      const int64_t ahead = transfers.bytes(Direction::kHostToDevice, Purpose::kKv) - kPasses * pass_bytes;
      CHECK(ahead >= 0);
      CHECK(ahead <= (pipeline && !retrieval ? engine.plan().ring.slots * engine.plan().ring.slot_bytes : 0));
      session.reset();
      CHECK(transfers.unused_bytes() == ahead);
    }
  }
  // Of several sequences, the first pass is one of all of them.
  EngineOptions options = Options({.model = model.path().c_str(), .prompt = kPrompt, .steps = 20, .rows = 0});
  options.plan.options.resident_kv_bytes = 0;
  options.plan.batch = 2;
  Engine engine(options);
  const std::vector<TokenId> text = Tokens(kPrompt + 1, 320);
  const auto first = engine.NewSession(), second = engine.NewSession();
  for (Session* const session : {first.get(), second.get()}) session->Append(std::span(text).first(kPrompt));
  const auto last = std::span(text).last(1);
  engine.Verify(std::array{PassRequest{first.get(), last}, PassRequest{second.get(), last}});
  CHECK(engine.transfers().unused_bytes() == 0);
}

TEST_CASE("with weights that stream, too, nothing is sent ahead with --no-pipeline") {
  constexpr int64_t kPrompt = 1100;
  const LongModel model(kTiny);
  EngineOptions options = Options({.model = model.path().c_str(), .prompt = kPrompt, .steps = 20, .rows = 0});
  options.plan.options.resident_weight_bytes = 0;
  options.plan.options.resident_kv_bytes = 0;
  options.plan.options.pipeline = false;
  options.plan.options.budget_tokens = 64;
  Engine engine(options);
  int64_t weights = 0;
  for (const LayerPlan& layer : engine.plan().layers) weights += layer.StreamedWeightBytes();
  const std::vector<TokenId> text = Tokens(kPrompt + 6, 320);
  const auto session = engine.NewSession();
  session->Append(std::span(text).first(kPrompt));
  session->EnableRetrieval({});
  for (int64_t i = kPrompt; i < kPrompt + 6; i += 3) {
    for (int64_t row = i; row < i + 3; ++row) session->RetrievalPass(std::span(text).subspan(row, 1), 1);
    session->Verify(std::span(text).subspan(i, 3), 1);
  }
  CHECK(engine.transfers().unused_bytes() == 0);
  // Of the prompt, of six retrieval passes and two over all KV.
  CHECK(engine.transfers().bytes(Direction::kHostToDevice, Purpose::kWeights) == 9 * weights);
}

TEST_CASE("a session copied to engines of other placements goes on with the same bits") {
  const Workload work{.model = kDemo, .prompt = SmallTests() ? 1100 : 2700, .steps = 3, .rows = 0};
  Engine resident(Options(work));
  const auto vocab = static_cast<int32_t>(resident.config().vocab);
  const auto original = resident.NewSession();
  original->Append(Tokens(work.prompt, vocab));
  const auto step = [&](Engine& engine, Session& session) {
    return ReadFloats(engine.lane(), session.Append(Tokens(1, vocab)));
  };
  std::vector<std::vector<float>> copies;
  for (const auto& [name, options] : PlacementsOf(work)) {
    Engine engine(options);
    const auto copy = engine.NewSession();
    copy->CopyFrom(*original);
    CHECK(copy->tokens().size() == original->tokens().size());
    copies.push_back(step(engine, *copy));
  }
  const std::vector<float> expected = step(resident, *original);
  for (const std::vector<float>& logits : copies) CHECK(logits == expected);
}

TEST_CASE("a rewind to a block that was folded brings it back") {
  for (const bool offloaded : {false, true}) {
    EngineOptions options = Options({.model = kDemo, .prompt = 0, .steps = 0, .rows = 4000});
    if (offloaded) options.plan.options = With(options.plan.options, 0, 0);
    Engine engine(options);
    const std::vector<TokenId> tokens = Tokens(4000, DemoVocab());
    const auto session = engine.NewSession();
    const auto behind = [&](int64_t first, int64_t end) {
      return ReadFloats(engine.lane(), session->Append(std::span(tokens).subspan(first, end - first)));
    };
    behind(0, 700);
    behind(700, 850);
    const std::vector<float> expected = behind(850, 900);  // 64 rows or less: one class on every device
    behind(900, 3900);
    session->Rewind(1500);
    session->Rewind(850);
    CHECK(behind(850, 900) == expected);
  }
}

}  // namespace
}  // namespace triforce
