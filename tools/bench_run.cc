#include "tools/bench_run.h"

#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <utility>

#include "kernels/core/lane.h"
#include "offload/transfer_counters.h"
#include "runtime/batch.h"
#include "runtime/generate.h"
#include "tools/interrupt.h"
#include "tools/progress.h"

namespace triforce {
namespace {

// Of a turn that does not count.
constexpr int64_t kWarmupTokens = 16;

// What an engine has moved and waited for since it was made, or behind another state of it.
struct Counted {
  TransferCounters transfers;
  WaitTimes waits;

  static Counted Of(const Engine& engine) { return {engine.transfers(), engine.wait_times()}; }
  Counted Since(const Counted& before) const { return {transfers.Since(before.transfers), waits.Since(before.waits)}; }
};

void AddSelections(const RetrievalStats& retrieval, BenchTurn& turn) {
  turn.selections += retrieval.selections;
  turn.select_ms += retrieval.select_ms;
}

void Write(const Counted& counted, BenchTurn& turn) {
  turn.link_bytes = counted.transfers.bytes(Direction::kHostToDevice);
  turn.guest_bytes = counted.transfers.bytes(Direction::kHostToDevice, Purpose::kGuests);
  turn.disk_bytes = counted.transfers.bytes(Direction::kDiskRead);
  turn.compute_wait_ms = counted.waits.compute_ms;
  turn.copy_wait_ms = counted.waits.copy_ms;
}

}  // namespace

BenchRun::BenchRun(const BenchConditions& conditions, const BenchMatrix& matrix, TakeProgress progress,
                   std::stop_token stop)
    : conditions_(conditions),
      matrix_(matrix),
      limits_(LimitsOf(conditions)),
      progress_(std::move(progress)),
      stop_(std::move(stop)) {}

BenchResults BenchRun::Run() {
  results_.configurations = matrix_.configurations;
  results_.labels = matrix_.labels;
  results_.random_weights = conditions_.model.random_weights;
  results_.wanted_turns =
      static_cast<int64_t>(matrix_.contexts.size() * matrix_.texts.size() * matrix_.configurations.size()) *
      matrix_.seeds * matrix_.repeats;
  try {
    for (const int64_t context : matrix_.contexts) RunContext(context);
  } catch (const Interrupted&) {  // what was measured is not lost
  }
  return std::move(results_);
}

void BenchRun::RunContext(int64_t context) {
  BenchEngines engines(conditions_, limits_, matrix_.configurations, context, stop_);
  setup_of_.clear();
  for (size_t i = 0; i < matrix_.configurations.size(); ++i) {
    setup_of_.push_back(results_.setups.size());
    results_.setups.push_back(engines.of(i).setup);
    results_.setups.back().configuration = i;
  }
  for (const BenchText& text : matrix_.texts) RunPrompt(engines, text, context);
}

void BenchRun::RunPrompt(BenchEngines& engines, const BenchText& text, int64_t context) {
  const std::vector<TokenId> prompt = CutPrompt(text, context);
  const std::unique_ptr<Session> source = engines.source().NewSession();
  {
    const auto begin = std::chrono::steady_clock::now();
    Progress progress(fmt::format("prefill of {}", text.name), Progress::Unit::kTokens);
    const TensorView logits = source->Append(
        prompt, [&](int64_t done, int64_t total) { progress.Update(done, total); }, stop_);
    if (!logits) throw Interrupted{};
    engines.source().lane().Synchronize();
    const std::chrono::duration<double, std::milli> ms = std::chrono::steady_clock::now() - begin;
    results_.prefills.push_back({context, text.name, ms.count(), engines.source().plan().times.prefill_ms});
  }
  for (int64_t repeat = -matrix_.warmup; repeat < matrix_.repeats; ++repeat) {
    const bool counts = repeat >= 0;
    for (int64_t seed = 0; seed < (counts ? matrix_.seeds : 1); ++seed) {
      for (size_t i = 0; i < matrix_.configurations.size(); ++i) {
        TakeTurn(engines, i, *source,
                 {.setup = setup_of_[i],
                  .prompt = text.name,
                  .seed = matrix_.sampling.seed + static_cast<uint64_t>(seed),
                  .repeat = repeat,
                  .tokens = {},
                  .proposers = {}},
                 counts ? conditions_.predict : std::min(conditions_.predict, kWarmupTokens));
      }
    }
  }
}

void BenchRun::TakeTurn(BenchEngines& engines, size_t configuration, const Session& source, BenchTurn turn,
                        int64_t tokens) {
  BenchEngines::Running& running = engines.of(configuration);
  Engine& engine = *running.engine;
  SayProgress(turn, configuration, running.setup.context, tokens);
  GenerateOptions options{.sampling = matrix_.sampling, .speculation = running.speculation, .max_tokens = tokens};
  options.sampling.seed = turn.seed;
  const BenchConfiguration& c = matrix_.configurations[configuration];
  if (c.temperature) options.sampling.filter.temperature = static_cast<float>(*c.temperature);
  conditions_.batch == 1 ? DecodeOne(running, source, options, turn) : DecodeBatch(running, source, options, turn);
  if (stop_.stop_requested()) throw Interrupted{};
  work_done_ += static_cast<double>(running.setup.context * tokens);
  if (turn.repeat < 0) return;
  results_.setups[turn.setup].peak_device_bytes = engine.peak_bytes().device;
  results_.turns.push_back(std::move(turn));
}

void BenchRun::DecodeOne(BenchEngines::Running& running, const Session& source, const GenerateOptions& options,
                         BenchTurn& turn) {
  Engine& engine = *running.engine;
  const auto session = engine.NewSession();
  session->CopyFrom(source);
  const TensorView logits = session->AppendLastAgain(running.setup.context);
  engine.lane().Synchronize();
  const RetrievalStats before = options.speculation.mode.retrieval ? session->retrieval_stats() : RetrievalStats();
  const Counted before_decoding = Counted::Of(engine);
  Generation generation = Generate(*session, engine, logits, options, nullptr, {}, stop_);
  Write(Counted::Of(engine).Since(before_decoding), turn);
  if (options.speculation.mode.retrieval) AddSelections(session->retrieval_stats().Since(before), turn);
  turn.tokens = std::move(generation.tokens);
  turn.prepare_ms = generation.prepare_ms;
  turn.decode_ms = generation.decode_ms;
  turn.proposers = std::move(generation.proposers);
}

// Each sequence draws other random numbers.
void BenchRun::DecodeBatch(BenchEngines::Running& running, const Session& source, const GenerateOptions& options,
                           BenchTurn& turn) {
  Engine& engine = *running.engine;
  std::vector<BatchJob> jobs(conditions_.batch);
  for (size_t i = 0; i < jobs.size(); ++i) {
    jobs[i].prompt.assign(source.tokens().begin(), source.tokens().end());
    jobs[i].options = options;
    jobs[i].options.sequence = static_cast<uint32_t>(i);
    jobs[i].copy_of = &source;
  }
  const Counted at_begin = Counted::Of(engine);
  const auto begin = std::chrono::steady_clock::now();
  const std::vector<BatchOutput> outputs = GenerateBatch(engine, jobs, {.stop = stop_});
  turn.decode_ms = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin).count();
  const Counted all = Counted::Of(engine).Since(at_begin);
  Counted prefill;
  turn.sequences = conditions_.batch;
  for (const BatchOutput& output : outputs) {
    const Generation& g = output.generation;
    turn.tokens.insert(turn.tokens.end(), g.tokens.begin(), g.tokens.end());
    turn.prepare_ms += g.prepare_ms;
    // Before any of them decodes.
    turn.decode_ms -= output.prefill_ms;
    prefill.transfers.Add(output.prefill_transfers);
    prefill.waits.Add(output.prefill_waits);
    AddReports(turn.proposers, g.proposers);
    AddSelections(output.retrieval, turn);
  }
  Write(all.Since(prefill), turn);
}

void BenchRun::SayProgress(const BenchTurn& turn, size_t configuration, int64_t context, int64_t tokens) {
  if (stop_.stop_requested()) throw Interrupted{};
  if (!progress_) return;
  const std::string part = turn.repeat < 0 ? fmt::format("warm-up, {} tokens", tokens)
                                           : fmt::format("seed {}, repeat {}", turn.seed, turn.repeat + 1);
  progress_(
      fmt::format("{} tokens, {}, {}: {}", context, turn.prompt, part, matrix_.configurations[configuration].name),
      work_done_ / AllWork());
}

double BenchRun::AllWork() const {
  double work = 0;
  for (const int64_t context : matrix_.contexts) {
    work += static_cast<double>(context * (matrix_.warmup * std::min(conditions_.predict, kWarmupTokens) +
                                           matrix_.repeats * matrix_.seeds * conditions_.predict));
  }
  return work * static_cast<double>(matrix_.texts.size() * matrix_.configurations.size());
}

}  // namespace triforce
