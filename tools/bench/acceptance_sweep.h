// What tools/bench/acceptance measures: cases, and what each came to in each text.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "runtime/engine.h"

namespace triforce {

// kTemperature: draft and retrieval at a tenth of the prompt. kBudget: retrieval, streaming, h2o and oracle. kChunk:
// retrieval by chunks of different sizes. kKinds: every kind at some budgets. kCandidates: the draft below a retrieval
// cache, with several candidates for a token and with two tokens.
enum class Sweep { kTemperature, kBudget, kChunk, kKinds, kCandidates };

struct AcceptanceCase {
  enum class Of { kDraft, kMiddle, kCandidates, kTwoInARow };

  Sweep sweep = Sweep::kKinds;
  std::string name;
  Of of = Of::kMiddle;
  RetrievalOptions middle = {};
  int64_t candidates = 1;
  float temperature = 0.6f;
  int64_t chunk_tokens = 8;
};

struct AcceptanceResult {
  AcceptanceCase of;
  std::vector<double> values;  // by text

  double mean() const;
  double standard_error() const;  // of the mean; 0 where there is one value
};

struct SweepSettings {
  int64_t prompt_tokens = 28000;
  int64_t most_budget = 2800;  // of kKinds
  float temperature = 0.6f;    // where it is not swept
  int64_t chunk_tokens = 8;    // where it is not swept
  bool draft = false;          // whether there is one
};

// Budgets beyond the prompt are left out; without a draft, what needs one.
std::vector<AcceptanceCase> CasesOf(Sweep sweep, const SweepSettings& settings);

}  // namespace triforce
