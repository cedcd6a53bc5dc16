// BenchEngines: the engines of one context of `triforce bench`: one for each plan that its configurations need, and one
// with all KV on the device, in which prompts are prefilled for all.
#pragma once

#include <cstdint>
#include <memory>
#include <stop_token>
#include <string>
#include <vector>

#include "offload/rates.h"
#include "runtime/engine.h"
#include "tools/bench_measurement.h"
#include "tools/model_options.h"
#include "tools/speculation_options.h"

namespace triforce {

// What all configurations share.
struct BenchConditions {
  ModelOptions model;
  SpeculationFlags speculation;  // but for mode and middle, which are the configuration's
  Rates rates;
  double link_gbps = 0;  // 0: not throttled
  int64_t predict = 0;
  int64_t batch = 1;  // sequences of a turn, side by side
};

// Limits of memory, taken once: what is available changes as engines are loaded.
struct BenchLimits {
  int64_t device_bytes = 0, host_bytes = 0, disk_bytes = 0;
};
BenchLimits LimitsOf(const BenchConditions& conditions);

// Of a chunk in all of them, which share a prefill, whose KV is ranked by chunks: the smallest that any would have.
int64_t ChunkTokensOfAll(const BenchConditions& conditions, const std::vector<BenchConfiguration>& configurations,
                         int64_t context);

class BenchEngines {
 public:
  struct Running {
    std::unique_ptr<Engine> engine;
    SpeculationOptions speculation;
    BenchSetup setup;
  };

  // Loads them, for `context` tokens of prompt. Throws Error as LoadEngine does, and kOutOfMemory where the machine has
  // not the memory for all of them; Interrupted.
  BenchEngines(const BenchConditions& conditions, const BenchLimits& limits,
               const std::vector<BenchConfiguration>& configurations, int64_t context, std::stop_token stop);

  Running& of(size_t configuration) { return *of_[configuration]; }
  Engine& source() { return *source_; }

 private:
  Running Load(const BenchConfiguration& configuration);
  void LoadSource();
  std::unique_ptr<Engine> Load(const ModelOptions& model, const SpeculationFlags& flags, bool resident, int64_t batch,
                               ChosenSpeculation& chosen);

  const BenchConditions& conditions_;
  const BenchLimits limits_;
  const int64_t context_, chunk_tokens_;
  const std::stop_token stop_;
  std::vector<std::unique_ptr<Running>> running_;
  std::vector<Running*> of_;  // by configuration
  std::unique_ptr<Engine> source_;
};

}  // namespace triforce
