#include "tools/bench_csv.h"

#include <fmt/core.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "tools/speculation_report.h"

namespace triforce {
namespace {

using Fields = std::vector<std::pair<std::string, std::string>>;  // name and value

std::string Number(double value) { return fmt::format("{:.6g}", value); }

void AddLevel(const std::vector<ProposerReport>& proposers, const std::string& proposer, Fields& fields) {
  const auto found = std::find_if(proposers.begin(), proposers.end(),
                                  [&](const ProposerReport& report) { return report.name == proposer; });
  const bool there = found != proposers.end();
  fields.emplace_back(proposer + "_tested", there ? fmt::format("{}", found->tests.tested) : "");
  fields.emplace_back(proposer + "_accepted", there ? fmt::format("{}", found->tests.accepted) : "");
  fields.emplace_back(proposer + "_acceptance", there ? Number(found->tests.acceptance()) : "");
  fields.emplace_back(proposer + "_passes", there ? fmt::format("{}", found->passes) : "");
  fields.emplace_back(proposer + "_ms", there ? Number(found->pass_ms) : "");
}

Fields FieldsOf(const BenchResults& results, const BenchTurn& turn, bool left_out) {
  const BenchSetup& setup = results.setups[turn.setup];
  const BenchConfiguration& configuration = results.configurations[setup.configuration];
  const auto tokens = static_cast<int64_t>(turn.tokens.size());
  const bool plain = turn.proposers.empty();
  const LevelStats full = FullTests(turn.proposers);
  const int64_t verify_passes = plain ? std::max<int64_t>(0, tokens - turn.sequences) : full.rounds;
  Fields fields = {
      {"context", fmt::format("{}", setup.context)},
      {"prompt", turn.prompt},
      {"seed", fmt::format("{}", turn.seed)},
      {"repeat", fmt::format("{}", turn.repeat + 1)},
      {"configuration", configuration.name},
      {"composition", setup.composition},
      {"temperature", configuration.temperature ? Number(*configuration.temperature) : ""},
      {"gamma", fmt::format("{}", setup.gamma)},
      {"draft_gamma", fmt::format("{}", setup.draft_gamma)},
      {"budget", fmt::format("{}", setup.budget)},
      {"tokens", fmt::format("{}", tokens)},
      {"ms_per_token", tokens > 0 ? Number(turn.decode_ms / static_cast<double>(tokens)) : ""},
      {"expected_ms_per_token", Number(setup.expected_ms)},
      {"decode_ms", Number(turn.decode_ms)},
      {"prepare_ms", Number(turn.prepare_ms)},
      {"verify_passes", fmt::format("{}", verify_passes)},
      {"verify_ms", Number(plain ? turn.decode_ms : full.verify_ms)},
  };
  const std::vector<ProposerReport> proposers = ByProposer(turn.proposers);
  for (const char* proposer : {"retrieval", "draft", "ngram"}) AddLevel(proposers, proposer, fields);
  fields.insert(fields.end(), {{"selections", fmt::format("{}", turn.selections)},
                               {"select_ms", Number(turn.select_ms)},
                               {"link_bytes", fmt::format("{}", turn.link_bytes)},
                               {"guest_bytes", fmt::format("{}", turn.guest_bytes)},
                               {"disk_bytes", fmt::format("{}", turn.disk_bytes)},
                               {"compute_wait_ms", Number(turn.compute_wait_ms)},
                               {"copy_wait_ms", Number(turn.copy_wait_ms)},
                               {"distinct_3_grams", Number(DistinctTrigrams(turn))},
                               {"left_out", left_out ? "1" : "0"},
                               {"labels", fmt::format("{}", fmt::join(results.labels, "; "))}});
  return fields;
}

}  // namespace

std::string CsvField(const std::string& text) {
  if (text.find_first_of(",\"\r\n") == std::string::npos) return text;
  std::string quoted = "\"";
  for (const char c : text) quoted += c == '"' ? "\"\"" : std::string(1, c);
  return quoted + "\"";
}

std::string BenchCsv(const BenchResults& results, const BenchReport& report) {
  std::string csv;
  const auto add_line = [&](const Fields& fields, bool names) {
    for (size_t i = 0; i < fields.size(); ++i) {
      csv += (i > 0 ? "," : "") + CsvField(names ? fields[i].first : fields[i].second);
    }
    csv += "\n";
  };
  for (size_t i = 0; i < results.turns.size(); ++i) {
    const Fields fields = FieldsOf(results, results.turns[i], report.left_out[i]);
    if (i == 0) add_line(fields, true);
    add_line(fields, false);
  }
  return csv;
}

}  // namespace triforce
