// BenchConditions from flags: what all configurations of `triforce bench` share, the machine's measured rates among it;
// and a description of them all.
#pragma once

#include <cstdint>
#include <stop_token>
#include <string>
#include <vector>

#include "models/config.h"
#include "runtime/sampling_options.h"
#include "tools/bench_engines.h"
#include "tools/bench_measurement.h"
#include "tools/bench_run.h"
#include "tools/model_options.h"
#include "tools/sampling_flags.h"
#include "tools/speculation_options.h"

namespace CLI {
class App;
}

namespace triforce {

struct BenchConditionFlags {
  ModelOptions model;
  SpeculationFlags speculation;
  SamplingFlags sampling;
  int64_t predict = 256;
  int64_t batch = 1;
  double link_ratio = 0;  // 0: as --link-gbps says
};

void AddConditionFlags(CLI::App& app, BenchConditionFlags& flags);

// As generate's, but with a seed of its own where none is given: runs are to be compared.
SamplingOptions SamplingOf(const BenchConditionFlags& flags, const ModelConfig& config);

// Measures the machine, unless --rates says what it is like. Throws Error; Interrupted.
BenchConditions MakeConditions(const BenchConditionFlags& flags, std::stop_token stop);

// Of the run: what is emulated, random weights.
std::vector<std::string> LabelsOf(const BenchConditionFlags& flags, const BenchConditions& conditions);

BenchHeader DescribeConditions(const BenchConditionFlags& flags, const BenchConditions& conditions,
                               const BenchMatrix& matrix);

}  // namespace triforce
