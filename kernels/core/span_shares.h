// SpanShares: what a lane did during the spans of another row of a trace: how much of a pass is work, and how much
// gaps.
#pragma once

#include <cstdint>
#include <string>

#include "kernels/core/trace.h"

namespace triforce {

// Of all spans of a name together. Shares of their time: the lane works; waits for another lane; has nothing to do
// between two pieces of work (gaps), or before the first and behind the last (edges). They add up to 1.
struct SpanShares {
  int64_t spans = 0;  // those in which the lane has done anything
  double mean_ms = 0;
  double work = 0, waits = 0, gaps = 0, edges = 0;
};

// During spans named `pass`, of whatever row, of the lane whose row is named `lane`; of several of that name, together,
// of which one at a time is to have work. What reaches over a pass' ends counts as far as it lies within.
SpanShares SharesDuring(Trace& trace, const std::string& pass, const std::string& lane);

}  // namespace triforce
