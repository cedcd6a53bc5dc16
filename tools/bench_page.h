// The results of `triforce bench` as one HTML page that stands alone: how it was measured, plots, tables. Nothing is
// fetched, nothing is run; light or dark as the reader's system is.
#pragma once

#include <string>

#include "tools/bench_measurement.h"
#include "tools/bench_report.h"

namespace triforce {

std::string BenchPage(const BenchHeader& header, const BenchResults& results, const BenchReport& report);

}  // namespace triforce
