#include "kernels/core/cuda_spans.h"

#include <algorithm>

namespace triforce {
namespace {

constexpr int64_t kAlignEveryNs = 250'000'000;

}  // namespace

CudaSpanClock::CudaSpanClock(const std::string& where) : where_(where), stream_(where, /*high_priority=*/true) {
  Take();  // the first one waits for the GPU to wake up
  Take();
}

std::shared_ptr<const CudaSpanClock::Base> CudaSpanClock::base() const {
  const std::lock_guard lock(mutex_);
  return bases_[latest_];
}

void CudaSpanClock::Align() {
  const std::lock_guard lock(mutex_);
  if (Trace::Now() - bases_[latest_]->host_ns >= kAlignEveryNs) Take();
}

void CudaSpanClock::Take() {
  const auto unused = [&](const std::shared_ptr<Base>& base) {
    return base.use_count() == 1 && (bases_.size() < 2 || base != bases_[latest_]);
  };
  auto next = std::find_if(bases_.begin(), bases_.end(), unused);
  if (next == bases_.end()) next = bases_.insert(bases_.end(), std::make_shared<Base>(where_));
  const int64_t before_ns = Trace::Now();
  if (cudaEventRecord((*next)->event.get(), stream_.get()) != cudaSuccess ||
      cudaEventSynchronize((*next)->event.get()) != cudaSuccess) {
    (void)cudaGetLastError();  // the GPU has failed: whoever waits for its work says so
    if (bases_.size() > 1) return;
  }
  (*next)->host_ns = before_ns + (Trace::Now() - before_ns) / 2;
  latest_ = static_cast<size_t>(next - bases_.begin());
}

CudaSpans::CudaSpans(Trace& trace, CudaSpanClock& clock, const std::string& row, cudaStream_t stream)
    : trace_(trace), clock_(clock), row_name_(row), row_(trace.AddRow(row)), stream_(stream), ring_(kSpans) {
  trace_.AddSource(this);
}

CudaSpans::~CudaSpans() {
  Flush();
  trace_.RemoveSource(this);
}

void CudaSpans::Begin() {
  begun_ = false;
  if (queued_ - harvested_ >= kSpans / 2) Harvest();
  if (queued_ - harvested_ >= kSpans) return trace_.Drop();
  std::unique_ptr<Span>& span = ring_[queued_ % kSpans];
  if (span == nullptr) span = std::make_unique<Span>(row_name_);
  begun_ = cudaEventRecord(span->begin.get(), stream_) == cudaSuccess;
  if (!begun_) (void)cudaGetLastError();  // so does the work that comes now, and tells
}

void CudaSpans::End(const char* name) {
  if (!begun_ || name == nullptr) return;
  begun_ = false;
  Span& span = *ring_[queued_ % kSpans];
  if (cudaEventRecord(span.end.get(), stream_) != cudaSuccess) return (void)cudaGetLastError();
  span.name = name;
  span.base = clock_.base();
  ++queued_;
}

void CudaSpans::Harvest() {
  const auto since = [](const Span& span, const CudaEventHandle& event, int64_t& ns) {
    float milliseconds = 0;
    if (cudaEventElapsedTime(&milliseconds, span.base->event.get(), event.get()) != cudaSuccess) {
      (void)cudaGetLastError();  // of a stream that has failed
      return false;
    }
    ns = span.base->host_ns + static_cast<int64_t>(static_cast<double>(milliseconds) * 1e6);
    return true;
  };
  for (; harvested_ < queued_; ++harvested_) {
    Span& span = *ring_[harvested_ % kSpans];
    if (!span.end.done()) return;
    int64_t begin_ns = 0, end_ns = 0;
    if (since(span, span.begin, begin_ns) && since(span, span.end, end_ns)) {
      trace_.Add(row_, span.name, begin_ns, end_ns);
    }
    span.base = nullptr;
  }
}

void CudaSpans::Emptied() {
  Harvest();
  clock_.Align();
}

void CudaSpans::Flush() {
  if (queued_ == harvested_) return;
  if (cudaEventSynchronize(ring_[(queued_ - 1) % kSpans]->end.get()) != cudaSuccess) (void)cudaGetLastError();
  Harvest();
}

}  // namespace triforce
