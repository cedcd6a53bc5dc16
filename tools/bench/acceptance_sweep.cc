#include "tools/bench/acceptance_sweep.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <numeric>

namespace triforce {
namespace {

using Of = AcceptanceCase::Of;

constexpr int64_t kBudgetShare = 10;  // the prompt over this

class Cases {
 public:
  Cases(Sweep sweep, const SweepSettings& settings) : sweep_(sweep), settings_(settings) {}

  // Null where it is left out; else until the next call.
  AcceptanceCase* Add(const std::string& name, Of of, Middle middle, int64_t budget) {
    if (budget > settings_.prompt_tokens || (of != Of::kMiddle && !settings_.draft)) return nullptr;
    cases_.push_back({.sweep = sweep_,
                      .name = name,
                      .of = of,
                      .middle = {.on = true, .middle = middle, .budget_tokens = budget},
                      .temperature = settings_.temperature,
                      .chunk_tokens = settings_.chunk_tokens});
    return &cases_.back();
  }
  AcceptanceCase* Draft() { return Add("draft", Of::kDraft, Middle::kRetrieval, 0); }
  std::vector<AcceptanceCase> Take() { return std::move(cases_); }

 private:
  const Sweep sweep_;
  const SweepSettings& settings_;
  std::vector<AcceptanceCase> cases_;
};

void AddTemperatures(Cases& cases, int64_t budget) {
  for (const float temperature : {0.0f, 0.2f, 0.4f, 0.6f, 0.8f, 1.0f, 1.2f}) {
    if (AcceptanceCase* draft = cases.Draft()) draft->temperature = temperature;
    cases.Add("retrieval", Of::kMiddle, Middle::kRetrieval, budget)->temperature = temperature;
  }
}

void AddBudgets(Cases& cases) {
  for (const int64_t budget : {256, 512, 1024, 2048, 4096, 8192}) {
    cases.Add("retrieval", Of::kMiddle, Middle::kRetrieval, budget);
    cases.Add("streaming", Of::kMiddle, Middle::kStreaming, budget);
    cases.Add("h2o", Of::kMiddle, Middle::kHeavyHitters, budget);
    cases.Add("oracle", Of::kMiddle, Middle::kOracle, budget);
  }
}

void AddChunks(Cases& cases, int64_t most_budget) {
  for (const int64_t chunk_tokens : {8, 16, 32, 64}) {
    for (const int64_t budget : {int64_t{1024}, most_budget}) {
      AcceptanceCase* const added =
          cases.Add(fmt::format("retrieval {}", budget), Of::kMiddle, Middle::kRetrieval, budget);
      if (added != nullptr) added->chunk_tokens = chunk_tokens;
    }
  }
}

void AddKinds(Cases& cases, int64_t most_budget) {
  const auto add = [&](const char* name, Middle middle, int64_t budget) -> AcceptanceCase* {
    return budget > most_budget ? nullptr : cases.Add(name, Of::kMiddle, middle, budget);
  };
  cases.Draft();
  for (const int64_t budget : {512, 1024, 2048, 2800}) add("retrieval", Middle::kRetrieval, budget);
  if (AcceptanceCase* once = add("retrieval, once", Middle::kRetrieval, 1024)) once->middle.reselect_tokens = 0;
  for (const int64_t budget : {1024, 2048, 2800}) add("streaming", Middle::kStreaming, budget);
  for (const int64_t budget : {1024, 2800}) add("h2o", Middle::kHeavyHitters, budget);
  for (const int64_t budget : {1024, 2800}) add("oracle", Middle::kOracle, budget);
}

void AddCandidates(Cases& cases, int64_t budget) {
  for (const int64_t candidates : {1, 2, 3}) {
    AcceptanceCase* const added =
        cases.Add(fmt::format("{} of the draft's candidates", candidates), Of::kCandidates, Middle::kRetrieval, budget);
    if (added != nullptr) added->candidates = candidates;
  }
  cases.Add("two of the draft's tokens in a row", Of::kTwoInARow, Middle::kRetrieval, budget);
}

}  // namespace

double AcceptanceResult::mean() const {
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

double AcceptanceResult::standard_error() const {
  const double n = static_cast<double>(values.size()), middle = mean();
  double square = 0;
  for (const double v : values) square += (v - middle) * (v - middle);
  return n > 1 ? std::sqrt(square / (n - 1) / n) : 0;
}

std::vector<AcceptanceCase> CasesOf(Sweep sweep, const SweepSettings& settings) {
  const int64_t share = settings.prompt_tokens / kBudgetShare;
  Cases cases(sweep, settings);
  switch (sweep) {
    case Sweep::kTemperature:
      AddTemperatures(cases, share);
      break;
    case Sweep::kBudget:
      AddBudgets(cases);
      break;
    case Sweep::kChunk:
      AddChunks(cases, settings.most_budget);
      break;
    case Sweep::kKinds:
      AddKinds(cases, settings.most_budget);
      break;
    case Sweep::kCandidates:
      AddCandidates(cases, share);
      break;
  }
  return cases.Take();
}

}  // namespace triforce
