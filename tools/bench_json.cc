#include "tools/bench_json.h"

#include <nlohmann/json.hpp>

#include "tools/bench_table.h"
#include "tools/speculation_report.h"

namespace triforce {
namespace {

using nlohmann::json;

json ToJson(const std::optional<Spread>& spread) {
  if (!spread) return nullptr;
  return {{"median", spread->median}, {"lowest", spread->low}, {"highest", spread->high}};
}

json ToJson(const RoundParts& r) {
  return {{"verify_ms", r.verify},
          {"retrieval_ms", r.retrieval},
          {"selection_ms", r.selection},
          {"draft_ms", r.draft},
          {"rest_ms", r.rest}};
}

json LevelRowsJson(const BenchRow& row) {
  json levels = json::array();
  for (const LevelRow& level : row.levels) {
    levels.push_back({{"proposer", level.proposer},
                      {"acceptance", level.acceptance},
                      {"tokens_per_round", level.tokens_per_round},
                      {"passes_per_token", level.passes_per_token},
                      {"pass_ms", level.pass_ms}});
  }
  return levels;
}

json RowJson(const BenchResults& results, const BenchRow& row) {
  const BenchSetup& setup = results.setups[row.setup];
  const BenchConfiguration& configuration = results.configurations[setup.configuration];
  json out = {{"context", setup.context},
              {"configuration", configuration.name},
              {"mode", configuration.mode},
              {"composition", setup.composition},
              {"gamma", setup.gamma},
              {"draft_gamma", setup.draft_gamma},
              {"budget", setup.budget},
              {"runs", row.turns},
              {"ms_per_token", ToJson(row.ms_per_token)},
              {"times_plain_offloaded", ToJson(row.over_offloaded)},
              {"times_plain_resident", ToJson(row.over_resident)},
              {"tokens_per_verify", row.tokens_per_verify},
              {"verify_passes_per_run", row.rounds_per_turn},
              {"verify_ms", row.verify_ms},
              {"levels", LevelRowsJson(row)},
              {"round", ToJson(row.round)},
              {"streamed_bytes_per_token", row.streamed_bytes},
              {"streamed_bytes_per_verify_planned", setup.streamed_bytes},
              {"waits_ms_per_token", {{"compute", row.compute_wait_ms}, {"copy", row.copy_wait_ms}}},
              {"expected_ms_per_token", setup.expected_ms},
              {"expected_steps",
               {{"verify_ms", setup.expected.verify_ms},
                {"retrieval_pass_ms", setup.expected.retrieval_pass_ms},
                {"selection_ms", setup.expected.reselect_ms},
                {"draft_pass_ms", setup.expected.draft_pass_ms}}},
              {"measured_over_expected", row.measured_over_expected},
              {"distinct_3_grams", {{"median", row.distinct}, {"lowest", row.least_distinct}}},
              {"repeats_equal", row.repeats},
              {"device_bytes", {{"planned", setup.device_bytes}, {"peak", setup.peak_device_bytes}}},
              {"host_bytes_planned", setup.host_bytes}};
  if (row.over_link_limit) out["over_link_limit"] = *row.over_link_limit;
  if (configuration.temperature) out["temperature"] = *configuration.temperature;
  return out;
}

json TurnJson(const BenchResults& results, const BenchTurn& turn, bool left_out) {
  const BenchSetup& setup = results.setups[turn.setup];
  json ids = json::array();
  for (const TokenId token : turn.tokens) ids.push_back(ToInt(token));
  return {{"context", setup.context},
          {"configuration", results.configurations[setup.configuration].name},
          {"prompt", turn.prompt},
          {"seed", turn.seed},
          {"repeat", turn.repeat + 1},
          {"ids", ids},
          {"decode_ms", turn.decode_ms},
          {"prepare_ms", turn.prepare_ms},
          {"levels", LevelsJson(turn.proposers, nullptr)},
          {"selections", turn.selections},
          {"select_ms", turn.select_ms},
          {"link_bytes", turn.link_bytes},
          {"guest_bytes", turn.guest_bytes},
          {"disk_bytes", turn.disk_bytes},
          {"waits_ms", {{"compute", turn.compute_wait_ms}, {"copy", turn.copy_wait_ms}}},
          {"distinct_3_grams", DistinctTrigrams(turn)},
          {"left_out", left_out}};
}

}  // namespace

json BenchJson(const BenchHeader& header, const BenchResults& results, const BenchReport& report) {
  json out = {{"machine", header.machine}, {"command", header.command},
              {"date", header.date},       {"model", header.model},
              {"draft", header.draft},     {"settings", json::object()},
              {"rows", json::array()},     {"runs", json::array()},
              {"pairs", json::array()},    {"notes", BenchNotes(results, report)}};
  out["labels"] = results.labels;
  for (const BenchPrefill& p : results.prefills) {
    out["prefills"].push_back(
        {{"context", p.context}, {"prompt", p.prompt}, {"ms", p.ms}, {"expected_ms", p.expected_ms}});
  }
  for (const auto& [name, value] : header.settings) out["settings"][name] = value;
  for (const BenchRow& row : report.rows) out["rows"].push_back(RowJson(results, row));
  for (const BenchReport::Pairs& pairs : report.pairs) {
    out["pairs"].push_back({{"context", pairs.context}, {"all", pairs.all}, {"left_out", pairs.left_out}});
  }
  for (size_t i = 0; i < results.turns.size(); ++i) {
    out["runs"].push_back(TurnJson(results, results.turns[i], report.left_out[i]));
  }
  out["complete"] = static_cast<int64_t>(results.turns.size()) == results.wanted_turns;
  return out;
}

}  // namespace triforce
