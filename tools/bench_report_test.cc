#include "tools/bench_report.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "tools/bench_csv.h"
#include "tools/bench_modes.h"
#include "tools/bench_page.h"
#include "tools/bench_table.h"

namespace triforce {
namespace {

bool Contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

// `count` tokens, all different, or of a circle of three.
std::vector<TokenId> Output(int32_t count, bool loops = false) {
  std::vector<TokenId> tokens;
  for (int32_t i = 0; i < count; ++i) tokens.push_back(TokenId{loops ? i % 3 : i});
  return tokens;
}

constexpr int32_t kTokens = 101;

// A run of the hierarchy that took `ms` per token, in 10 rounds.
BenchTurn HierarchyTurn(size_t setup, const std::string& prompt, uint64_t seed, double ms) {
  BenchTurn turn{.setup = setup, .prompt = prompt, .seed = seed, .tokens = Output(kTokens), .proposers = {}};
  turn.decode_ms = ms * kTokens;
  LevelStats top{.rounds = 10, .proposed = 120, .tested = 100, .accepted = 90, .handed_out = 100};
  top.verify_ms = 0.5 * turn.decode_ms;
  LevelStats middle{.rounds = 60, .proposed = 60, .tested = 60, .accepted = 30, .handed_out = 120};
  turn.proposers = {{"retrieval", "full", top, 60, 0.3 * turn.decode_ms},
                    {"draft", "retrieval", middle, 60, 0.1 * turn.decode_ms}};
  turn.select_ms = 0.05 * turn.decode_ms;
  turn.selections = 10;
  turn.link_bytes = 1000 * kTokens;
  return turn;
}

BenchTurn PlainTurn(size_t setup, const std::string& prompt, uint64_t seed, double ms) {
  BenchTurn turn{.setup = setup, .prompt = prompt, .seed = seed, .tokens = Output(kTokens), .proposers = {}};
  turn.decode_ms = ms * kTokens;
  return turn;
}

// Plain decoding on both sides and the hierarchy, at one context; two prompts, one seed.
BenchResults Results() {
  BenchResults results{
      .configurations = ChooseConfigurations({.modes = {"plain resident", "plain offloaded", "hierarchy"},
                                              .temperatures = {},
                                              .budgets = {},
                                              .has_draft = true})
                            .configurations,
      .setups = {},
      .turns = {},
      .wanted_turns = 6};
  for (size_t i = 0; i < 3; ++i) {
    results.setups.push_back({.context = 4096, .configuration = i, .composition = i < 2 ? "none" : "hierarchy"});
  }
  results.setups[1].link_ms = 100;
  results.setups[2].expected_ms = 8;
  results.turns = {PlainTurn(0, "a", 1, 4),    PlainTurn(1, "a", 1, 100),    HierarchyTurn(2, "a", 1, 10),
                   PlainTurn(0, "b\"c", 1, 6), PlainTurn(1, "b\"c", 1, 110), HierarchyTurn(2, "b\"c", 1, 20)};
  return results;
}

TEST_CASE("medians and spreads") {
  CHECK(Median({3, 1, 2}) == 2);
  CHECK(Median({4, 1, 3, 2}) == 2.5);
  CHECK(Median({7}) == 7);
  const Spread spread = SpreadOf({5, 1, 2});
  CHECK(spread.median == 2);
  CHECK(spread.low == 1);
  CHECK(spread.high == 5);
}

TEST_CASE("the share of distinct 3-grams") {
  CHECK(DistinctTrigrams(Output(50)) == 1);
  CHECK(DistinctTrigrams(Output(50, /*loops=*/true)) == doctest::Approx(3.0 / 48));
  CHECK(DistinctTrigrams(Output(2)) == 1);
  CHECK(DistinctTrigrams(std::span<const TokenId>()) == 1);
}

TEST_CASE("speed-ups are ratios of medians, with those of each prompt and seed as spread") {
  const BenchReport report = MakeBenchReport(Results());
  REQUIRE(report.rows.size() == 3);
  const BenchRow& hierarchy = report.rows[2];
  CHECK(hierarchy.turns == 2);
  CHECK(hierarchy.ms_per_token->median == doctest::Approx(15));
  CHECK(hierarchy.ms_per_token->low == doctest::Approx(10));
  CHECK(hierarchy.over_offloaded->median == doctest::Approx(105.0 / 15));
  CHECK(hierarchy.over_offloaded->low == doctest::Approx(5.5));
  CHECK(hierarchy.over_offloaded->high == doctest::Approx(10));
  CHECK(hierarchy.over_resident->median == doctest::Approx(5.0 / 15));
  CHECK(hierarchy.measured_over_expected == doctest::Approx(15.0 / 8));
  // 100 passes give 101 tokens; 100 ms are the link's limit.
  CHECK(*report.rows[1].over_link_limit == doctest::Approx(105.0 * 101 / 100 / 100));
  CHECK_FALSE(hierarchy.over_link_limit.has_value());
}

TEST_CASE("a proposer that two levels have tested is one, and what was looked up stands apart") {
  BenchResults results = Results();
  for (BenchTurn& turn : results.turns) {
    if (turn.proposers.empty()) continue;
    turn.proposers[1].name = "draft+ngram";
    turn.proposers[1].lookup = NgramDraftStats{.lookups = 5, .drafts = 20, .tested = 40, .accepted = 10};
    const LevelStats straight{.rounds = 4, .proposed = 50, .tested = 40, .accepted = 35, .handed_out = 39};
    turn.proposers.push_back({"draft+ngram", "full", straight, 0, 0});
  }
  const BenchReport report = MakeBenchReport(results);
  const BenchRow& row = report.rows[2];
  REQUIRE(row.levels.size() == 3);
  CHECK(row.level("draft")->acceptance == doctest::Approx((30 + 35 - 10) / 60.0));
  CHECK(row.level("ngram")->acceptance == doctest::Approx(0.25));
  CHECK(row.level("draft")->passes_per_token == doctest::Approx(60.0 / kTokens));
  CHECK(row.tokens_per_verify == doctest::Approx(139.0 / 14));
  const std::string csv = BenchCsv(results, report);
  CHECK(Contains(csv, ",60,55,0.916667,60,"));  // draft_tested, _accepted, _acceptance, _passes
  CHECK(Contains(csv, ",40,10,0.25,0,"));       // ngram_...
  const std::vector<BenchTable> tables = MakeBenchTables(results, report);
  CHECK(tables[1].rows[2][4] == "0.917");
  CHECK(tables[1].rows[2][5] == "0.250");
}

TEST_CASE("figures of levels and parts of a round are sums over sums") {
  const BenchReport report = MakeBenchReport(Results());
  const BenchRow& row = report.rows[2];
  const double round_ms = 15.0 * kTokens / 10;
  CHECK(row.tokens_per_verify == doctest::Approx(10));
  CHECK(row.level("retrieval")->acceptance == doctest::Approx(0.9));
  CHECK(row.level("draft")->acceptance == doctest::Approx(0.5));
  CHECK(row.level("ngram") == nullptr);
  CHECK(row.level("retrieval")->pass_ms == doctest::Approx(0.25 * round_ms / 6));
  CHECK(row.round.verify == doctest::Approx(0.5 * round_ms));
  CHECK(row.round.retrieval == doctest::Approx(0.25 * round_ms));
  CHECK(row.round.selection == doctest::Approx(0.05 * round_ms));
  CHECK(row.round.draft == doctest::Approx(0.1 * round_ms));
  CHECK(row.round.rest == doctest::Approx(0.1 * round_ms));
  CHECK(row.streamed_bytes == doctest::Approx(1000));
}

TEST_CASE("where one side loops, all leave that prompt and seed out") {
  BenchResults results = Results();
  results.turns[1].tokens = Output(kTokens, /*loops=*/true);  // plain offloaded, prompt a
  const BenchReport report = MakeBenchReport(results);
  REQUIRE(report.pairs.size() == 1);
  CHECK(report.pairs[0].all == 2);
  CHECK(report.pairs[0].left_out == 1);
  CHECK(report.left_out == std::vector<bool>{true, true, true, false, false, false});
  CHECK(report.rows[2].turns == 1);
  CHECK(report.rows[2].ms_per_token->median == doctest::Approx(20));
  CHECK(report.rows[2].over_offloaded->median == doctest::Approx(5.5));
  for (BenchTurn& turn : results.turns) turn.tokens = Output(kTokens, /*loops=*/true);
  const BenchReport nothing = MakeBenchReport(results);
  CHECK_FALSE(nothing.rows[2].ms_per_token.has_value());
  CHECK_FALSE(nothing.rows[2].over_offloaded.has_value());
  CHECK(Contains(FormatTable(MakeBenchTables(results, nothing)[0]), "hierarchy"));
  CHECK(Contains(BenchPage({}, results, nothing), "nothing to plot"));
}

TEST_CASE("sweeps are judged by themselves") {
  BenchResults results = Results();
  results.configurations.push_back(results.configurations[2]);
  results.configurations.back().temperature = 0;
  results.setups.push_back({.context = 4096, .configuration = 3, .composition = "hierarchy"});
  results.turns.push_back(HierarchyTurn(3, "a", 1, 5));
  results.turns.back().tokens = Output(kTokens, /*loops=*/true);
  const BenchReport report = MakeBenchReport(results);
  CHECK(report.pairs[0].left_out == 0);
  CHECK(report.rows[3].turns == 1);
  CHECK_FALSE(report.rows[3].over_offloaded.has_value());
  CHECK(report.rows[3].distinct < kLeastDistinct);
}

TEST_CASE("repeats that differ are found and said") {
  BenchResults results = Results();
  results.turns.push_back(results.turns[2]);
  results.turns.back().repeat = 1;
  CHECK(MakeBenchReport(results).rows[2].repeats);
  results.turns.back().tokens.back() = TokenId{0};
  const BenchReport report = MakeBenchReport(results);
  CHECK_FALSE(report.rows[2].repeats);
  bool said = false;
  for (const std::string& note : BenchNotes(results, report)) said = said || Contains(note, "did NOT give the same");
  CHECK(said);
}

TEST_CASE("CSV: a line each, of as many fields, with quotes where they are needed") {
  CHECK(CsvField("plain") == "plain");
  CHECK(CsvField("a, b") == "\"a, b\"");
  CHECK(CsvField("say \"so\"") == "\"say \"\"so\"\"\"");
  CHECK(CsvField("two\nlines") == "\"two\nlines\"");
  const BenchResults results = Results();
  const std::string csv = BenchCsv(results, MakeBenchReport(results));
  CHECK(std::count(csv.begin(), csv.end(), '\n') == 7);
  CHECK(Contains(csv, "4096,\"b\"\"c\",1,1,hierarchy,hierarchy,"));
  const size_t header = csv.find('\n'), line = csv.find('\n', header + 1);
  CHECK(std::count(csv.begin(), csv.begin() + header, ',') ==
        std::count(csv.begin() + header, csv.begin() + line, ','));
}

TEST_CASE("tables are aligned and fit 120 columns") {
  BenchResults results = Results();
  for (BenchTurn& turn : results.turns) turn.decode_ms *= 13.37;
  for (const BenchTable& table : MakeBenchTables(results, MakeBenchReport(results))) {
    const std::string text = FormatTable(table);
    CAPTURE(text);
    for (size_t begin = 0; begin < text.size(); begin = text.find('\n', begin) + 1) {
      CHECK(text.find('\n', begin) - begin <= 120);
    }
  }
  CHECK(ShortNumber(0.30123) == "0.301");
  CHECK(ShortNumber(14.5531) == "14.55");
  CHECK(ShortNumber(150.34) == "150.3");
  CHECK(ShortNumber(1503.4) == "1,503");
}

TEST_CASE("the page shows what stands in names, and fetches nothing") {
  const BenchResults results = Results();
  const std::string page = BenchPage({.machine = "<CPU>",
                                      .command = "triforce bench -f 'a&b'",
                                      .date = "2026-11-25",
                                      .model = "demo",
                                      .draft = "",
                                      .settings = {{"prompts", "<script>"}}},
                                     results, MakeBenchReport(results));
  CHECK(Contains(page, "&lt;CPU&gt;"));
  CHECK(Contains(page, "a&amp;b"));
  CHECK_FALSE(Contains(page, "<script"));
  CHECK_FALSE(Contains(page, "src="));
  CHECK_FALSE(Contains(page, "href="));
  CHECK(Contains(page, "7.00 times"));
  CHECK(Contains(page, "Time per round by part, 4,096 tokens"));
}

TEST_CASE("modes: known ones, those that need a draft, sweeps") {
  CHECK(
      ChooseConfigurations({.modes = {}, .temperatures = {}, .budgets = {}, .has_draft = true}).configurations.size() ==
      9);
  const BenchChoice without = ChooseConfigurations({});
  CHECK(without.configurations.size() == 5);
  CHECK(without.left_out.size() == 4);
  const BenchChoice swept = ChooseConfigurations(
      {.modes = {"hierarchy", "hierarchy"}, .temperatures = {0, 0.5}, .budgets = {256}, .has_draft = true});
  REQUIRE(swept.configurations.size() == 4);
  CHECK(swept.configurations[2].name == "hierarchy, temperature 0.5");
  CHECK(*swept.configurations[3].budget == 256);
  const auto fails = [](const BenchModeFlags& flags, const std::string& reason) {
    try {
      ChooseConfigurations(flags);
      FAIL_CHECK("was accepted");
    } catch (const std::exception& error) {
      CHECK_MESSAGE(Contains(error.what(), reason), error.what());
    }
  };
  fails({.modes = {"faster"}, .temperatures = {}, .budgets = {}}, "expected one of plain resident");
  fails({.modes = {"hierarchy"}, .temperatures = {}, .budgets = {}}, "needs a draft model");
  fails({.modes = {"ngram"}, .temperatures = {0.5}, .budgets = {}}, "needs a draft model");
}

}  // namespace
}  // namespace triforce
