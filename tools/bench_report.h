// BenchReport: what `triforce bench` has measured, summed up: a row per context and configuration.
//
// Pure arithmetic. Times are medians over prompts, seeds and repeats; acceptance and the times of passes are sums over
// sums. A continuation that goes round in circles says nothing of a text: where one configuration's does, for a prompt
// and a seed, all leave that pair out. Sweeps are judged by themselves and leave nothing out: at low temperatures a
// small model does little else; so are outputs of random weights.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "models/token_id.h"
#include "tools/bench_measurement.h"

namespace triforce {

// Below this share of distinct 3-grams an output loops.
inline constexpr double kLeastDistinct = 0.5;

// Of its 3-grams, how many differ from all others: distinct ones over all. 1 where there is none.
double DistinctTrigrams(std::span<const TokenId> tokens);
// The mean of its sequences.
double DistinctTrigrams(const BenchTurn& turn);

// The middle one; of an even number, the mean of the two in the middle. REQUIRES: at least one.
double Median(std::vector<double> values);

struct Spread {
  double median = 0, low = 0, high = 0;
};
// REQUIRES: at least one.
Spread SpreadOf(const std::vector<double>& values);

// One proposer, whoever tested it (ByProposer, speculation_report.h).
struct LevelRow {
  std::string proposer;
  double acceptance = 0;        // accepted over tested
  double tokens_per_round = 0;  // of the level
  double passes_per_token = 0;  // of the proposer itself
  double pass_ms = 0;           // without selections
};

// Where a round's time goes, in ms.
struct RoundParts {
  double verify = 0, retrieval = 0, selection = 0, draft = 0, rest = 0;
};

struct BenchRow {
  size_t setup = 0;  // of BenchResults::setups
  int64_t turns = 0;
  std::optional<Spread> ms_per_token;  // nothing where all turns are left out
  // Medians over its own; lowest and highest: of the prompt and seed where it is so.
  std::optional<Spread> over_offloaded, over_resident;
  double tokens_per_verify = 0;
  double verify_ms = 0;  // of a pass
  std::vector<LevelRow> levels;
  RoundParts round;
  double rounds_per_turn = 0;
  double streamed_bytes = 0;   // per token
  double compute_wait_ms = 0;  // per token
  double copy_wait_ms = 0;
  double measured_over_expected = 0;
  std::optional<double> over_link_limit;    // plain decoding that streams: ms per pass over the link's
  double distinct = 0, least_distinct = 0;  // shares of 3-grams: median, lowest
  bool repeats = true;                      // the same prompt and seed gave the same tokens each time

  const LevelRow* level(const std::string& proposer) const;  // null where there is none
};

struct BenchReport {
  std::vector<BenchRow> rows;  // in the order of setups
  // Pairs of prompt and seed at a context: how many there are, and how many are left out.
  struct Pairs {
    int64_t context = 0, all = 0, left_out = 0;
  };
  std::vector<Pairs> pairs;
  std::vector<bool> left_out;  // by BenchResults::turns
};

BenchReport MakeBenchReport(const BenchResults& results);

}  // namespace triforce
