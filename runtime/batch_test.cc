// Sequences in a batch say what they say alone, whatever the others do.
#include "runtime/batch.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "kernels/core/error.h"
#include "runtime/device_testing.h"
#include "runtime/offload_testing.h"

namespace triforce {
namespace {

constexpr int64_t kLongest = 1100, kBatch = 3;
const int64_t kTokens = SmallTests() ? 17 : 26;

EngineOptions BatchEngine(int64_t batch = kBatch) {
  EngineOptions options = Options({.model = kDemo, .prompt = kLongest, .steps = kTokens, .rows = 0});
  AddDemoDraft(options);
  options.plan.batch = batch;
  options.plan.options.budget_tokens = 64;
  options.plan.options.gamma = 6;
  return options;
}

// Prompts and ends of different lengths, more of them than run at a time.
std::vector<BatchJob> Jobs(const SpeculationOptions& speculation, float temperature) {
  std::vector<BatchJob> jobs;
  std::vector<int64_t> prompts = {700, 30, 1100, 1, 1025};
  if (SmallTests()) prompts = {520, 30, 545, 1, 3};
  for (const int64_t prompt : prompts) {
    const auto number = static_cast<uint32_t>(jobs.size());
    BatchJob job{.prompt = Tokens(prompt, DemoVocab(), 50 + number)};
    job.options.speculation = speculation;
    job.options.sampling.filter = {.temperature = temperature, .top_p = 0.95f};
    job.options.sampling.seed = 3;
    job.options.sequence = number;
    job.options.max_tokens = number == 1 ? 5 : kTokens - 7 * (number % 3);
    if (number == 2) job.options.sampling.repetition_penalty = 1.3f;
    jobs.push_back(std::move(job));
  }
  return jobs;
}

std::vector<std::vector<TokenId>> TokensOf(const std::vector<BatchOutput>& outputs) {
  std::vector<std::vector<TokenId>> tokens;
  for (const BatchOutput& output : outputs) tokens.push_back(output.generation.tokens);
  return tokens;
}

std::vector<TokenId> Alone(Engine& engine, const BatchJob& job) {
  const auto session = engine.NewSession();
  const TensorView logits = session->Append(job.prompt);
  return Generate(*session, engine, logits, job.options, nullptr, {}).tokens;
}

SpeculationOptions Mode(const char* name) { return {.mode = *ParseSpeculationMode(name), .gamma = 6}; }

TEST_CASE("each sequence equals itself alone, in every mode, with KV and weights resident and streamed") {
  std::vector<std::pair<std::string, EngineOptions>> engines = {{"resident", BatchEngine()}};
  engines.emplace_back("KV streamed", BatchEngine());
  engines.back().second.plan.options.resident_kv_bytes = 0;
  engines.emplace_back("KV and weights streamed", engines.back().second);
  engines.back().second.plan.options.resident_weight_bytes = 0;
  std::vector<const char*> modes = {"hierarchy", "none"};
  if (SmallTests()) {
    engines = {engines[1]};
    modes = {"hierarchy"};
  }
  if (!SmallTests()) modes.insert(modes.end(), {"draft", "retrieval", "ngram", "adapting"});
  for (const auto& [name, options] : engines) {
    CAPTURE(name);
    Engine engine(options);
    for (const char* mode : modes) {
      CAPTURE(mode);
      const bool adapts = std::string(mode) == "adapting";
      SpeculationOptions speculation = Mode(adapts ? "hierarchy" : mode);
      if (adapts) {
        speculation.adapts = {.plain = true, .retrieval = true, .bottom = true, .below = true, .most_gamma = 6};
      }
      const std::vector<BatchJob> jobs = Jobs(speculation, 0.8f);
      const auto together = TokensOf(GenerateBatch(engine, jobs, {}));
      for (size_t i = 0; i < jobs.size(); ++i) {
        CAPTURE(i);
        CHECK(static_cast<int64_t>(together[i].size()) == jobs[i].options.max_tokens);
        CHECK(together[i] == Alone(engine, jobs[i]));
      }
    }
  }
}

TEST_CASE("weights that stream cross the link once for all sequences of a pass") {
  EngineOptions options = BatchEngine();
  options.plan.options.resident_weight_bytes = 0;
  Engine engine(options);
  std::vector<BatchJob> jobs = Jobs(Mode("none"), 0);
  jobs.resize(kBatch);
  for (BatchJob& job : jobs) job.options.max_tokens = 20;
  const auto weights_moved = [&](const std::vector<BatchJob>& some) {
    const int64_t before = engine.transfers().bytes(Direction::kHostToDevice, Purpose::kWeights);
    GenerateBatch(engine, some, {});
    return engine.transfers().bytes(Direction::kHostToDevice, Purpose::kWeights) - before;
  };
  std::vector<BatchJob> first(jobs.begin(), jobs.begin() + 1);
  std::vector<BatchJob> none = first;
  none[0].options.max_tokens = 1;
  const int64_t alone = weights_moved(first) - weights_moved(none);  // 19 passes
  std::vector<BatchJob> all_none = jobs;
  for (BatchJob& job : all_none) job.options.max_tokens = 1;
  const int64_t together = weights_moved(jobs) - weights_moved(all_none);
  CHECK(alone > 0);
  CHECK(together < alone + alone / 4);
}

TEST_CASE("what a prompt moves is told apart from what decoding moves") {
  Engine source(BatchEngine());
  EngineOptions options = BatchEngine();
  options.plan.options.resident_kv_bytes = 0;
  Engine engine(options);
  std::vector<BatchJob> jobs = Jobs(Mode("none"), 0);
  jobs.resize(1);
  const auto prefilled = source.NewSession();
  prefilled->Append(jobs[0].prompt);
  jobs[0].copy_of = prefilled.get();
  const auto link_bytes = [](const TransferCounters& counters) { return counters.bytes(Direction::kHostToDevice); };
  int64_t alone = 0;
  {
    const auto session = engine.NewSession();
    session->CopyFrom(*prefilled);
    const TensorView logits = session->AppendLastAgain(std::ssize(jobs[0].prompt));
    const TransferCounters before = engine.transfers();
    Generate(*session, engine, logits, jobs[0].options, nullptr, {});
    alone = link_bytes(engine.transfers().Since(before));
  }
  const TransferCounters before = engine.transfers();
  const BatchOutput output = GenerateBatch(engine, jobs, {}).at(0);
  const int64_t prompt = link_bytes(output.prefill_transfers);
  CHECK(alone > 0);
  CHECK(prompt > 0);
  CHECK(link_bytes(engine.transfers().Since(before)) - prompt == alone);
}

TEST_CASE("jobs join as others finish, each told of at its end") {
  Engine engine(BatchEngine(2));
  const std::vector<BatchJob> jobs = Jobs(Mode("hierarchy"), 0.8f);
  std::vector<size_t> finished;
  const auto outputs = GenerateBatch(engine, jobs, {.finished = [&](size_t job, const BatchOutput& output) {
                                       CHECK_FALSE(output.generation.tokens.empty());
                                       finished.push_back(job);
                                     }});
  CHECK(outputs.size() == jobs.size());
  CHECK(finished.size() == jobs.size());
  CHECK_FALSE(std::is_sorted(finished.begin(), finished.end()));  // of the first two, the second is shorter
  CHECK(outputs[0].generation.proposers.size() == 2);
  CHECK(outputs[0].retrieval.selections > 0);
}

TEST_CASE("an error in one sequence ends all, and leaves the engine with free seats") {
  Engine engine(BatchEngine());
  std::vector<BatchJob> jobs = Jobs(Mode("hierarchy"), 0.8f);
  jobs[1].prompt = Tokens(kLongest + kTokens + 1, DemoVocab());  // too long
  CHECK_THROWS_AS(GenerateBatch(engine, jobs, {}), Error);
  jobs[1] = jobs[0];
  CHECK(TokensOf(GenerateBatch(engine, jobs, {}))[1] == Alone(engine, jobs[0]));
}

TEST_CASE("what is stopped keeps what it has; what has not begun is empty") {
  Engine engine(BatchEngine(2));
  std::stop_source stop;
  const auto outputs =
      GenerateBatch(engine, Jobs(Mode("draft"), 0.8f),
                    {.finished = [&](size_t, const BatchOutput&) { stop.request_stop(); }, .stop = stop.get_token()});
  CHECK(outputs[0].generation.reason == FinishReason::kInterrupted);
  CHECK_FALSE(outputs[0].generation.tokens.empty());
  CHECK(outputs[1].generation.reason == FinishReason::kMaxTokens);
  CHECK(outputs[4].generation.reason == FinishReason::kInterrupted);
  CHECK(outputs[4].generation.tokens.empty());
}

}  // namespace
}  // namespace triforce
