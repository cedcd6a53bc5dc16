// BenchRun: prompts, contexts and configurations of `triforce bench`, measured turn by turn.
//
// At a context all configurations are loaded side by side. A prompt is prefilled once, and each turn begins with a copy
// of that: nothing of a turn reaches the next. Turns go over all configurations before the next seed and the next
// repeat, so that a change of the machine's speed meets all alike.
#pragma once

#include <cstdint>
#include <functional>
#include <stop_token>
#include <string>
#include <vector>

#include "runtime/generate.h"
#include "runtime/sampling_options.h"
#include "tools/bench_engines.h"
#include "tools/bench_measurement.h"
#include "tools/bench_prompts.h"

namespace triforce {

struct BenchMatrix {
  std::vector<BenchText> texts;
  std::vector<int64_t> contexts;  // tokens of the prompts cut from each text
  std::vector<BenchConfiguration> configurations;
  SamplingOptions sampling;  // its seed: the first one
  int64_t seeds = 1;
  int64_t repeats = 1;
  int64_t warmup = 1;               // short turns of each configuration and prompt that do not count
  std::vector<std::string> labels;  // BenchResults'
};

// Told before each turn: what it is, and how much of all work is done (0 to 1).
using TakeProgress = std::function<void(const std::string& what, double done)>;

class BenchRun {
 public:
  // Both outlive it.
  BenchRun(const BenchConditions& conditions, const BenchMatrix& matrix, TakeProgress progress, std::stop_token stop);

  // Ends early, with the turns measured so far, where `stop` is requested. Throws Error as BenchEngines, prefill and
  // Generate do.
  BenchResults Run();

 private:
  void RunContext(int64_t context);
  void RunPrompt(BenchEngines& engines, const BenchText& text, int64_t context);
  // `source`: the prefilled prompt.
  void TakeTurn(BenchEngines& engines, size_t configuration, const Session& source, BenchTurn turn, int64_t tokens);
  // Decodes what `turn` says, from the engine's copy of the prompt; false where it was stopped.
  void DecodeOne(BenchEngines::Running& running, const Session& source, const GenerateOptions& options,
                 BenchTurn& turn);
  void DecodeBatch(BenchEngines::Running& running, const Session& source, const GenerateOptions& options,
                   BenchTurn& turn);
  void SayProgress(const BenchTurn& turn, size_t configuration, int64_t context, int64_t tokens);
  double AllWork() const;

  const BenchConditions& conditions_;
  const BenchMatrix& matrix_;
  const BenchLimits limits_;
  const TakeProgress progress_;
  const std::stop_token stop_;
  BenchResults results_;
  std::vector<size_t> setup_of_;  // of the context at hand, by configuration
  double work_done_ = 0;
};

}  // namespace triforce
