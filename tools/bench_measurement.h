// What `triforce bench` measures: data only, made by bench_run, summed up by bench_report, written by bench_table,
// bench_json, bench_csv and bench_page.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "models/token_id.h"
#include "offload/plan.h"
#include "runtime/speculation.h"

namespace triforce {

// A way to decode, which is measured beside others.
struct BenchConfiguration {
  std::string name;                   // "hierarchy with h2o", "hierarchy, temperature 0.8"
  std::string mode;                   // "hierarchy with h2o"
  std::string spec;                   // of --spec
  std::string middle = "retrieval";   // of --middle
  bool resident = false;              // everything on the device, without limit
  std::optional<double> temperature;  // of a sweep; none: the run's
  std::optional<int64_t> budget;      // of a sweep; none: the run's
  // Of a sweep: made for acceptance, and not part of the comparison.
  bool swept() const { return temperature.has_value() || budget.has_value(); }
};

// What a configuration runs at one context, and what its plan expects.
struct BenchSetup {
  int64_t context = 0;       // tokens of a prompt
  size_t configuration = 0;  // of BenchResults::configurations
  std::string composition;   // "hierarchy": what was chosen where the mode is auto
  int64_t gamma = 0, draft_gamma = 0, budget = 0;
  double expected_ms = 0;         // per token
  PlanTimes expected = {};        // of each step
  int64_t streamed_bytes = 0;     // of a verify pass
  double link_ms = 0;             // that the link needs for them at its rate
  int64_t device_bytes = 0;       // of the plan
  int64_t host_bytes = 0;         // of the plan
  int64_t peak_device_bytes = 0;  // by the device's own count
};

// One continuation of one prompt, or several of them side by side.
struct BenchTurn {
  size_t setup = 0;    // of BenchResults::setups
  std::string prompt;  // "book.txt@5000"
  uint64_t seed = 0;
  int64_t repeat = 0;
  int64_t sequences = 1;
  std::vector<TokenId> tokens;                   // of all sequences, as many of each
  double prepare_ms = 0;                         // taking the prompt into what proposes
  double decode_ms = 0;                          // from the first draw to the last token
  std::vector<ProposerReport> proposers;         // from the top level down
  int64_t selections = 0;                        // of chunks for the retrieval cache
  double select_ms = 0;                          // part of its passes' time
  int64_t link_bytes = 0;                        // host to device, those that were of no use included
  int64_t guest_bytes = 0;                       // of them, for the retrieval cache
  int64_t disk_bytes = 0;                        // read
  double compute_wait_ms = 0, copy_wait_ms = 0;  // lanes waiting for each other
};

// A prompt's prefill, all KV on the device, once for all configurations.
struct BenchPrefill {
  int64_t context = 0;
  std::string prompt;
  double ms = 0, expected_ms = 0;
};

struct BenchResults {
  std::vector<BenchConfiguration> configurations;
  std::vector<BenchSetup> setups;
  std::vector<BenchTurn> turns;
  std::vector<BenchPrefill> prefills;
  int64_t wanted_turns = 0;         // more than there are, if the run was interrupted
  std::vector<std::string> labels;  // of the run, for all outputs (run_labels.h)
  bool random_weights = false;      // outputs that loop say no less than others
};

// Where and how all this was measured.
struct BenchHeader {
  std::string machine, command, date, model, draft;
  std::vector<std::pair<std::string, std::string>> settings;  // "device memory": "4.00 GiB"
};

}  // namespace triforce
