// Drawn texts that follow from model, prompt, seed and options alone (SpeculationOptions::costs,
// RetrievalOptions::by_text_alone): whatever the machine, its limits and the rest of a batch.
#include <doctest/doctest.h>

#include <string>
#include <utility>
#include <vector>

#include "offload/reproducible_plan.h"
#include "runtime/batch.h"
#include "runtime/offload_testing.h"

namespace triforce {
namespace {

constexpr int64_t kPrompt = 1250, kSteps = 60, kBudget = 256, kChunk = 32;
const std::vector<const char*> kModes = {"hierarchy", "ngram+hierarchy"};

const LongModel& Target() {
  static const LongModel model(kTiny);
  return model;
}

EngineOptions TinyEngine() {
  static const LongModel draft("tests/data/tiny/plain");  // of the same vocabulary
  EngineOptions options = Options({.model = kTiny, .prompt = kPrompt, .steps = kSteps, .rows = 0});
  options.model_directory = Target().path();
  options.draft_directory = draft.path();
  options.plan.options.budget_tokens = kBudget;
  options.plan.options.chunk_tokens = kChunk;
  options.plan.options.most_gamma = kMostGamma;
  return options;
}

// As --reproducible has them, on costs at which gammas move.
SpeculationOptions Fixed(const char* mode) {
  static const PlanInput input = Engine(TinyEngine()).plan().input;
  const SpeculationShape shape = *ParseSpeculationMode(mode);
  const ReproduciblePlan plan = PlanReproducibly({.shape = input.shape, .draft = input.draft, .prompt_tokens = kPrompt},
                                                 {.shape = shape, .budget_tokens = kBudget});
  return {.mode = shape,
          .gamma = plan.speculation.round.gamma,
          .draft_gamma = plan.speculation.round.draft_gamma,
          .adapts = plan.speculation.rounds,
          .costs = plan.costs,
          .retrieval = {.budget_tokens = kBudget, .reselect_tokens = 32, .by_text_alone = true},
          .begins_with_pass = true};
}

BatchJob Job(const SpeculationOptions& speculation, int64_t prompt, uint32_t sequence = 0) {
  BatchJob job{.prompt = Tokens(prompt, 320, 5 + static_cast<uint32_t>(prompt))};
  job.options.speculation = speculation;
  job.options.sampling.filter = {.temperature = 0.8f, .top_p = 0.95f};
  job.options.sampling.seed = 11;
  job.options.sequence = sequence;
  job.options.max_tokens = kSteps - static_cast<int64_t>(sequence);
  return job;
}

std::vector<TokenId> Text(Engine& engine, const BatchJob& job) {
  return GenerateBatch(engine, {job}, {}).at(0).generation.tokens;
}

TEST_CASE("reproducible: a drawn text does not depend on where bytes lie, nor on the rates that were measured") {
  std::vector<std::pair<std::string, EngineOptions>> engines = Placements(TinyEngine());
  for (const double factor : {0.2, 0.9, 1.15, 5.0}) {
    engines.emplace_back("rates times " + std::to_string(factor), TinyEngine());
    Rates& rates = engines.back().second.plan.rates = AssumedCpuRates();
    rates.device_read_gbps *= factor;
    rates.op_us /= factor * factor;
  }
  engines.emplace_back("fast passes behind a slow link", engines.back().second);
  engines.back().second.plan.options.resident_kv_bytes = 0;
  engines.back().second.plan.link_gbps = 0.2;
  engines.emplace_back("one thread", TinyEngine());
  engines.back().second.threads = 1;
  engines.emplace_back("three threads, KV on the host and on disk", engines.front().second);
  engines.back().second.threads = 3;
  engines.back().second.plan.options.resident_kv_bytes = 0;
  engines.back().second.plan.options.host_kv_bytes = 1 << 16;
  engines.back().second.plan.disk_bytes = kGiB;
  Engine resident(TinyEngine());
  std::vector<BatchJob> jobs;
  std::vector<std::vector<TokenId>> expected;
  for (const char* mode : kModes) {
    jobs.push_back(Job(Fixed(mode), kPrompt));
    expected.push_back(Text(resident, jobs.back()));
    CHECK(std::ssize(expected.back()) == kSteps);
  }
  for (const auto& [name, options] : engines) {
    CAPTURE(name);
    Engine engine(options);
    for (size_t i = 0; i < jobs.size(); ++i) {
      CAPTURE(kModes[i]);
      CHECK(Text(engine, jobs[i]) == expected[i]);
    }
  }
}

TEST_CASE("reproducible: each sequence of a batch draws what it draws alone") {
  for (const char* mode : kModes) {
    CAPTURE(mode);
    std::vector<BatchJob> jobs;
    for (const int64_t prompt : {int64_t{600}, kPrompt, int64_t{40}, int64_t{1}, int64_t{1050}}) {
      jobs.push_back(Job(Fixed(mode), prompt, static_cast<uint32_t>(jobs.size())));
    }
    EngineOptions together = TinyEngine();
    together.plan.batch = 3;
    together.plan.context_tokens += 200;  // as if one were longer
    together.plan.options.budget_tokens = 512;
    together.plan.options.resident_kv_bytes = 0;
    Engine engine(together), resident(TinyEngine());
    const std::vector<BatchOutput> outputs = GenerateBatch(engine, jobs, {});
    for (size_t i = 0; i < jobs.size(); ++i) {
      CAPTURE(i);
      CHECK(outputs[i].generation.tokens == Text(resident, jobs[i]));
    }
  }
}

// A sample leaves kept queries, chunk means and folded blocks behind.
TEST_CASE("reproducible: each sample draws what its sequence draws alone") {
  EngineOptions options = TinyEngine();
  options.plan.options.resident_kv_bytes = 0;
  Engine engine(options);
  for (const char* mode : kModes) {
    CAPTURE(mode);
    std::vector<std::vector<TokenId>> samples;
    {
      const auto session = engine.NewSession();
      session->Append(Job({}, kPrompt).prompt);
      for (uint32_t sequence = 0; sequence < 3; ++sequence) {
        const TensorView logits = session->AppendLastAgain(kPrompt);
        GenerateOptions of_sample = Job(Fixed(mode), kPrompt, sequence).options;
        if (sequence == 0) of_sample.max_tokens = 3;  // too few for its queries to be forgotten
        samples.push_back(Generate(*session, engine, logits, of_sample, nullptr, {}).tokens);
      }
    }
    for (uint32_t sequence = 1; sequence < 3; ++sequence) {
      CAPTURE(sequence);
      CHECK(samples[sequence] == Text(engine, Job(Fixed(mode), kPrompt, sequence)));
    }
  }
}

}  // namespace
}  // namespace triforce
