// The results of `triforce bench` as JSON: what was measured where, the report's rows, and every run.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "tools/bench_measurement.h"
#include "tools/bench_report.h"

namespace triforce {

nlohmann::json BenchJson(const BenchHeader& header, const BenchResults& results, const BenchReport& report);

}  // namespace triforce
