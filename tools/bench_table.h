// BenchTable: the report of `triforce bench` as tables of text, for the terminal and for the page, and what stands
// below them in words.
#pragma once

#include <string>
#include <vector>

#include "tools/bench_measurement.h"
#include "tools/bench_report.h"

namespace triforce {

struct BenchTable {
  std::string title;
  std::vector<std::string> columns;  // names; a line break parts two lines
  std::vector<std::vector<std::string>> rows;
};

// Two for each context: times and speed-ups; then where the time goes.
std::vector<BenchTable> MakeBenchTables(const BenchResults& results, const BenchReport& report);

// Outputs left out, prefills, the link's limit, runs that do not repeat; a sentence each.
std::vector<std::string> BenchNotes(const BenchResults& results, const BenchReport& report);

// Columns apart by two spaces, the first one aligned left; ends with a line break.
std::string FormatTable(const BenchTable& table);

// "hierarchy with h2o"; "auto: hierarchy", with what was chosen.
std::string BenchName(const BenchResults& results, const BenchSetup& setup);

// 4 significant digits, without exponent: "14.55", "150.3", "0.3012", "1,503".
std::string ShortNumber(double value);

}  // namespace triforce
