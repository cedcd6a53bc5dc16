#include "kernels/core/span_shares.h"

#include <doctest/doctest.h>

namespace triforce {
namespace {

TEST_CASE("work, waits, gaps and edges of a pass add up; what lies outside does not count") {
  Trace trace(100);
  const int passes = trace.AddRow("retrieval"), compute = trace.AddRow("compute"), copy = trace.AddRow("copy");
  trace.Add(compute, "linear", 0, 900);  // before
  trace.Add(passes, "retrieval pass", 1000, 2000);
  trace.Add(compute, "rope", 1300, 1400);
  trace.Add(compute, "linear", 1100, 1250);
  trace.Add(compute, "wait", 1400, 1600);
  trace.Add(compute, "linear", 1650, 1800);
  trace.Add(copy, "KV to device", 1000, 2000);
  trace.Add(passes, "retrieval pass", 3000, 3500);  // nothing happens in it
  trace.Add(passes, "verify pass", 4000, 4100);
  const SpanShares shares = SharesDuring(trace, "retrieval pass", "compute");
  CHECK(shares.spans == 1);
  CHECK(shares.mean_ms == doctest::Approx(0.001));
  CHECK(shares.work == doctest::Approx(0.4));
  CHECK(shares.waits == doctest::Approx(0.2));
  CHECK(shares.gaps == doctest::Approx(0.1));
  CHECK(shares.edges == doctest::Approx(0.3));
}

TEST_CASE("work that reaches over a pass' ends, or over other work, counts once and within") {
  Trace trace(100);
  const int passes = trace.AddRow("rounds"), compute = trace.AddRow("compute");
  trace.Add(compute, "linear", 500, 1500);
  trace.Add(passes, "verify pass", 1000, 2000);
  trace.Add(compute, "linear", 1400, 1600);
  trace.Add(compute, "linear", 1600, 2600);
  trace.Add(passes, "verify pass", 2000, 3000);
  const SpanShares shares = SharesDuring(trace, "verify pass", "compute");
  CHECK(shares.spans == 2);
  CHECK(shares.work == doctest::Approx(0.8));
  CHECK(shares.gaps == doctest::Approx(0.0));
  CHECK(shares.edges == doctest::Approx(0.2));
  CHECK(SharesDuring(trace, "verify pass", "copy").spans == 0);
  CHECK(SharesDuring(trace, "no pass", "compute").spans == 0);
}

}  // namespace
}  // namespace triforce
