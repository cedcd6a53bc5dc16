#include "tools/bench/acceptance_report.h"

#include <doctest/doctest.h>

#include <nlohmann/json.hpp>
#include <set>

namespace triforce {
namespace {

TEST_CASE("sweeps have the cases that they are for, and what cannot be measured is left out") {
  const SweepSettings all{.draft = true};
  const std::vector<AcceptanceCase> temperatures = CasesOf(Sweep::kTemperature, all);
  CHECK(temperatures.size() == 14);
  for (size_t i = 0; i < temperatures.size(); ++i) {
    CHECK(temperatures[i].temperature == doctest::Approx(0.2 * static_cast<double>(i / 2)));
    CHECK((temperatures[i].of == AcceptanceCase::Of::kDraft) == (i % 2 == 0));
    if (i % 2 == 1) CHECK(temperatures[i].middle.budget_tokens == 2800);
  }
  CHECK(CasesOf(Sweep::kTemperature, {}).size() == 7);  // no draft
  CHECK(CasesOf(Sweep::kBudget, all).size() == 24);
  CHECK(CasesOf(Sweep::kBudget, {.prompt_tokens = 1100}).size() == 12);
  std::set<int64_t> chunks;
  for (const AcceptanceCase& of : CasesOf(Sweep::kChunk, all)) chunks.insert(of.chunk_tokens);
  CHECK(chunks == std::set<int64_t>{8, 16, 32, 64});
  CHECK(CasesOf(Sweep::kKinds, all).size() == 13);
  CHECK(CasesOf(Sweep::kCandidates, all).size() == 4);
  CHECK(CasesOf(Sweep::kCandidates, {}).empty());
}

TEST_CASE("acceptances are reported with their errors, text by text where caches are compared") {
  std::vector<AcceptanceResult> results;
  for (const AcceptanceCase& of : CasesOf(Sweep::kBudget, {.prompt_tokens = 300})) results.push_back({of, {0.5, 0.75}});
  REQUIRE(results.size() == 4);
  results[0].values = {0.75, 1};
  CHECK(results[0].mean() == doctest::Approx(0.875));
  CHECK(results[0].standard_error() == doctest::Approx(0.125));
  const std::string table = AcceptanceTable(results);
  CHECK(table.find("retrieval, budget 256 (chunks of 8, T 0.6)") != std::string::npos);
  CHECK(table.find("0.8750 +- 0.1250") != std::string::npos);
  CHECK(table.find("0.2500 +- 0.0000") != std::string::npos);  // less streaming, in both texts
  const nlohmann::json json = AcceptanceJson(results);
  CHECK(json[0]["budget_tokens"] == 256);
  CHECK(json[0]["values"].size() == 2);
  const std::vector<NamedPlot> plots = AcceptancePlots(results);
  REQUIRE(plots.size() == 1);
  CHECK(plots[0].file_name == "acceptance_by_budget.svg");
  CHECK(plots[0].svg.find("oracle") != std::string::npos);
}

}  // namespace
}  // namespace triforce
