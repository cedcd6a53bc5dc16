#include "tools/bench_table.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <sstream>

#include "tools/bench_modes.h"
#include "tools/plot_axis.h"

namespace triforce {
namespace {

constexpr const char* kNone = "-";

std::string Ranged(const std::optional<Spread>& spread, int digits) {
  if (!spread) return kNone;
  const auto number = [&](double value) { return fmt::format("{:.{}f}", value, digits); };
  if (number(spread->low) == number(spread->high)) return number(spread->median);
  return fmt::format("{} ({}-{})", number(spread->median), number(spread->low), number(spread->high));
}

std::string Range(const std::optional<Spread>& spread) {
  return spread ? fmt::format("{}-{}", ShortNumber(spread->low), ShortNumber(spread->high)) : kNone;
}

// "-" where it did not happen.
std::string NonZero(double value) { return value == 0 ? kNone : ShortNumber(value); }
std::string NonZero(int64_t value) { return value == 0 ? kNone : fmt::format("{}", value); }
std::string Acceptance(const BenchRow& row, const std::string& proposer) {
  const LevelRow* const level = row.level(proposer);
  return level == nullptr ? kNone : fmt::format("{:.3f}", level->acceptance);
}

std::vector<std::string> TimeCells(const BenchResults& results, const BenchRow& row) {
  const BenchSetup& setup = results.setups[row.setup];
  const bool counts = row.ms_per_token.has_value();
  return {BenchName(results, setup),
          counts ? ShortNumber(row.ms_per_token->median) : kNone,
          Range(row.ms_per_token),
          Ranged(row.over_offloaded, 2),
          Ranged(row.over_resident, 2),
          counts ? fmt::format("{:.2f}", row.tokens_per_verify) : kNone,
          ShortNumber(setup.expected_ms),
          counts ? fmt::format("{:.2f}", row.measured_over_expected) : kNone,
          fmt::format("{:.2f}", row.distinct)};
}

std::vector<std::string> PartCells(const BenchResults& results, const BenchRow& row) {
  const BenchSetup& setup = results.setups[row.setup];
  const LevelRow *const retrieval = row.level("retrieval"), *const draft = row.level("draft");
  const double selection =
      retrieval == nullptr ? 0 : row.round.selection;  // one behind each verify pass, unless --reselect says otherwise
  return {BenchName(results, setup),
          setup.gamma == 0         ? kNone
          : setup.draft_gamma == 0 ? fmt::format("{}", setup.gamma)
                                   : fmt::format("{}/{}", setup.gamma, setup.draft_gamma),
          NonZero(setup.budget),
          Acceptance(row, "retrieval"),
          Acceptance(row, "draft"),
          Acceptance(row, "ngram"),
          NonZero(row.verify_ms),
          retrieval == nullptr ? kNone : NonZero(retrieval->pass_ms),
          draft == nullptr ? kNone : NonZero(draft->pass_ms),
          NonZero(selection),
          NonZero(row.streamed_bytes * 1e-6),
          NonZero(row.compute_wait_ms),
          fmt::format("{}", (setup.peak_device_bytes + (1 << 19)) >> 20)};
}

}  // namespace

std::string BenchName(const BenchResults& results, const BenchSetup& setup) {
  const BenchConfiguration& configuration = results.configurations[setup.configuration];
  return configuration.spec == "auto" ? fmt::format("auto: {}", setup.composition) : configuration.name;
}

std::string ShortNumber(double value) {
  const double size = std::abs(value);
  if (size >= 1000) return FormatTick(std::round(value));
  return fmt::format("{:.{}f}", value, size >= 100 ? 1 : size >= 1 || value == 0 ? 2 : 3);
}

std::vector<BenchTable> MakeBenchTables(const BenchResults& results, const BenchReport& report) {
  std::vector<BenchTable> tables;
  for (const BenchReport::Pairs& pairs : report.pairs) {
    const std::string tokens = FormatTick(static_cast<double>(pairs.context)) + " tokens";
    BenchTable times{
        .title = tokens + ": time per token",
        .columns = {"", "ms per\ntoken", "lowest-\nhighest", "times plain\noffloaded", "times plain\nresident",
                    "tokens\n/verify", "expected\nms", "measured\n/expected", "distinct\n3-grams"},
        .rows = {}};
    BenchTable parts{
        .title = tokens + ": where it goes",
        .columns = {"", "gamma", "budget", "retrieval\naccepted", "draft\naccepted", "n-gram\naccepted", "verify\nms",
                    "retrieval\nms", "draft\nms", "select\nms", "MB per\ntoken", "waits\nms", "device\nMiB"},
        .rows = {}};
    for (const BenchRow& row : report.rows) {
      if (results.setups[row.setup].context != pairs.context) continue;
      times.rows.push_back(TimeCells(results, row));
      parts.rows.push_back(PartCells(results, row));
    }
    tables.push_back(std::move(times));
    tables.push_back(std::move(parts));
  }
  return tables;
}

std::vector<std::string> BenchNotes(const BenchResults& results, const BenchReport& report) {
  std::vector<std::string> notes;
  for (const BenchReport::Pairs& pairs : report.pairs) {
    if (results.random_weights) continue;  // nothing of a loop
    const std::string tokens = FormatTick(static_cast<double>(pairs.context)) + " tokens";
    notes.push_back(
        pairs.left_out == 0
            ? fmt::format("{}: no output loops; all pairs of prompt and seed ({}) count.", tokens, pairs.all)
            : fmt::format("{}: {} of {} pairs of prompt and seed are left out, in all modes: an output of theirs loops "
                          "(less than half of its 3-grams are distinct).",
                          tokens, pairs.left_out, pairs.all));
  }
  for (const BenchPrefill& p : results.prefills) {
    notes.push_back(fmt::format("{} tokens, {}: prefilled in {} ms, all KV on the device; {} expected.",
                                FormatTick(static_cast<double>(p.context)), p.prompt, ShortNumber(p.ms),
                                ShortNumber(p.expected_ms)));
  }
  for (const BenchRow& row : report.rows) {
    const BenchSetup& setup = results.setups[row.setup];
    const BenchConfiguration& configuration = results.configurations[setup.configuration];
    const std::string where =
        fmt::format("{} tokens, {}: ", FormatTick(static_cast<double>(setup.context)), configuration.name);
    if (configuration.mode == kPlainOffloaded && !row.over_link_limit && setup.streamed_bytes == 0) {
      notes.push_back(where + "nothing is streamed; the limits leave room for everything.");
    }
    if (configuration.mode == kPlainOffloaded && row.over_link_limit) {
      notes.push_back(where + fmt::format("{:.3f} of the link's limit, which is {} MB in {} ms.", *row.over_link_limit,
                                          ShortNumber(static_cast<double>(setup.streamed_bytes) * 1e-6),
                                          ShortNumber(setup.link_ms)));
    }
    if (!row.repeats) {
      notes.push_back(where +
                      "repeats of the same prompt and seed did NOT give the same tokens; their times are not "
                      "of the same work.");
    }
  }
  const int64_t turns = static_cast<int64_t>(results.turns.size());
  if (turns < results.wanted_turns) {
    notes.push_back(fmt::format("Interrupted: {} of {} runs were measured.", turns, results.wanted_turns));
  }
  return notes;
}

std::string FormatTable(const BenchTable& table) {
  // Names may have two lines, of which the second stands at the bottom.
  std::vector<std::string> first, second;
  for (const std::string& name : table.columns) {
    const size_t line_break = name.find('\n');
    first.push_back(line_break == std::string::npos ? "" : name.substr(0, line_break));
    second.push_back(line_break == std::string::npos ? name : name.substr(line_break + 1));
  }
  std::vector<std::vector<std::string>> lines = {first, second};
  lines.insert(lines.end(), table.rows.begin(), table.rows.end());
  std::vector<size_t> widths(table.columns.size());
  for (const std::vector<std::string>& line : lines) {
    for (size_t i = 0; i < line.size(); ++i) widths[i] = std::max(widths[i], line[i].size());
  }
  std::string text = table.title + "\n";
  for (const std::vector<std::string>& line : lines) {
    std::string row = fmt::format("{:<{}}", line[0], widths[0]);
    for (size_t i = 1; i < line.size(); ++i) row += fmt::format("  {:>{}}", line[i], widths[i]);
    text += row.substr(0, row.find_last_not_of(' ') + 1) + "\n";
  }
  return text;
}

}  // namespace triforce
