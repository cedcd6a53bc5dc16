// What speculation did, for a person and for --stats-json.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

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

// `text` in the colour of how its token came about: accepted green, corrected red, bonus blue.
std::string Coloured(std::string_view text, TokenOrigin origin);

}  // namespace triforce
