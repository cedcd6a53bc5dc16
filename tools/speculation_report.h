// What speculation did, for a person and for --stats-json.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "offload/plan.h"
#include "runtime/engine.h"
#include "runtime/speculation.h"

namespace triforce {

// A line per proposer: "retrieval: accepted 0.93 (171/184 tested), 9.4 tokens per round, ..."
std::string SpeculationLines(std::span<const ProposerReport> reports);

// What each proposer has come to, whoever tested it: one report for each name. Of a "draft+ngram", "draft" has what was
// drafted, with all of its rounds and passes, and "ngram" what was looked up.
std::vector<ProposerReport> ByProposer(std::span<const ProposerReport> reports);

// "levels" of --stats-json, from the top down: a level and its proposer each. `retrieval`: null where there is none.
nlohmann::json LevelsJson(std::span<const ProposerReport> reports, const RetrievalStats* retrieval);

// A kind of step: how often it was taken, how long it took on average, and what the plan expects.
struct StepTime {
  std::string name;  // "prefill", "verify", ...
  int64_t count = 0;
  double ms = 0;
  double expected_ms = 0;
};

// What a run was, as far as its steps' times go.
struct MeasuredRun {
  double prefill_ms = 0;  // of the prompt, once
  double decode_ms = 0;   // of all tokens
  int64_t tokens = 0;
  std::vector<ProposerReport> proposers;      // none: plain decoding
  const RetrievalStats* retrieval = nullptr;  // null where there is none
};

// The steps that a run has taken, each beside the plan's. Of a verify pass the plan expects what is left of it when so
// many of its transfers as the ring has room for went on while tokens were proposed, for as long as that has taken. It
// expects rounds of its own gammas: others, where they adapt, take other times.
std::vector<StepTime> StepsBesidePlan(const Plan& plan, const MeasuredRun& run);
// A line each: "verify: 2410.52 ms, 2381.40 expected (1.01)".
std::string StepLines(std::span<const StepTime> steps);
nlohmann::json StepsJson(std::span<const StepTime> steps);

// `text` in the colour of how its token came about: accepted green, corrected red, bonus blue.
std::string Coloured(std::string_view text, TokenOrigin origin);

}  // namespace triforce
