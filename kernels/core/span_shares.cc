#include "kernels/core/span_shares.h"

#include <algorithm>
#include <string_view>
#include <vector>

namespace triforce {
namespace {

using Spans = std::vector<Trace::Span>;

void SortByBegin(Spans& spans) {
  std::sort(spans.begin(), spans.end(),
            [](const Trace::Span& a, const Trace::Span& b) { return a.begin_ns < b.begin_ns; });
}

struct Sums {
  int64_t all = 0, work = 0, waits = 0, gaps = 0;
};

// Adds what the lane does within `pass`; false where that is nothing. `first`: of `lane`, before which none reaches
// into this pass or a later one; moved on.
bool AddPass(const Trace::Span& pass, const Spans& lane, size_t& first, Sums& sums) {
  while (first < lane.size() && lane[first].end_ns <= pass.begin_ns) ++first;
  int64_t done_ns = -1;  // up to where the lane was looked at
  Sums own{.all = pass.end_ns - pass.begin_ns};
  for (size_t i = first; i < lane.size() && lane[i].begin_ns < pass.end_ns; ++i) {
    const int64_t end_ns = std::min(lane[i].end_ns, pass.end_ns);
    int64_t begin_ns = std::max(lane[i].begin_ns, pass.begin_ns);
    if (done_ns >= 0 && begin_ns > done_ns) own.gaps += begin_ns - done_ns;
    begin_ns = std::max(begin_ns, done_ns);
    if (end_ns > begin_ns) (std::string_view(lane[i].name) == "wait" ? own.waits : own.work) += end_ns - begin_ns;
    done_ns = std::max(done_ns, end_ns);
  }
  if (own.work == 0) return false;
  sums.all += own.all, sums.work += own.work, sums.waits += own.waits, sums.gaps += own.gaps;
  return true;
}

}  // namespace

SpanShares SharesDuring(Trace& trace, const std::string& pass, const std::string& lane) {
  Spans passes, work;
  const std::vector<std::string>& rows = trace.rows();
  for (const Trace::Span& span : trace.Collect()) {
    if (span.name == pass) passes.push_back(span);
    if (rows[span.row] == lane) work.push_back(span);
  }
  SortByBegin(passes);
  SortByBegin(work);
  SpanShares shares;
  Sums sums;
  size_t first = 0;
  for (const Trace::Span& span : passes) shares.spans += AddPass(span, work, first, sums) ? 1 : 0;
  if (shares.spans == 0) return shares;
  const auto share = [&](int64_t ns) { return static_cast<double>(ns) / static_cast<double>(sums.all); };
  shares.mean_ms = static_cast<double>(sums.all) * 1e-6 / static_cast<double>(shares.spans);
  shares.work = share(sums.work);
  shares.waits = share(sums.waits);
  shares.gaps = share(sums.gaps);
  shares.edges = share(sums.all - sums.work - sums.waits - sums.gaps);
  return shares;
}

}  // namespace triforce
