// The plots of `triforce bench`, of its report's rows.
#pragma once

#include <string>
#include <vector>

#include "tools/bench_measurement.h"
#include "tools/bench_report.h"

namespace triforce {

// As SVG, for as much as was measured: time per token (by context, where there are several), time of a round by part
// (at the longest context), acceptance by temperature and by budget.
std::vector<std::string> BenchPlots(const BenchResults& results, const BenchReport& report);

}  // namespace triforce
