// The runs of `triforce bench` as CSV (RFC 4180, line ends of one character): a header, and a line each.
#pragma once

#include <string>

#include "tools/bench_measurement.h"
#include "tools/bench_report.h"

namespace triforce {

std::string BenchCsv(const BenchResults& results, const BenchReport& report);

// A field as CSV has it: in quotes where it has a comma, a quote or a line break.
std::string CsvField(const std::string& text);

}  // namespace triforce
