// CudaSpans: spans of a stream's work in the trace, by the times of events around it.
//
// Two events go around each kernel, copy and wait of a lane that is traced; their times are read when they are done,
// and told in the host's time. Events come from a ring that is made as it is needed; in the steady state nothing is
// allocated. Events take about a microsecond of the stream each, and kernels no longer start while the one before ends:
// a traced run is slower than one that is not, and its gaps are longer.
//
// What a stream captures has no spans: a captured graph is one piece of work, with a span of its own.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "kernels/core/cuda_handles.h"
#include "kernels/core/trace.h"

namespace triforce {

// The GPU's time in the host's: an event whose time both know, taken anew now and then, since clocks drift, and since
// CUDA counts the time between two events as a float. One for each device. Thread-safe.
class CudaSpanClock {
 public:
  struct Base {
    explicit Base(const std::string& where) : event(where, cudaEventDefault) {}
    CudaEventHandle event;
    int64_t host_ns = 0;  // when it happened
  };

  // On the thread's current device. Throws Error.
  explicit CudaSpanClock(const std::string& where);

  std::shared_ptr<const Base> base() const;
  // Takes a new base, if the latest one is a quarter of a second old: some 20 us of the host. On the thread's current
  // device, which is the clock's.
  void Align();

 private:
  void Take();

  const std::string where_;
  const CudaStream stream_;
  mutable std::mutex mutex_;
  std::vector<std::shared_ptr<Base>> bases_;  // guarded by mutex_: the latest, and others, of which some are in use
  size_t latest_ = 0;                         // guarded by mutex_
};

// Of one lane; used by its thread, and by the one that writes the trace while nothing is queued. All calls: the device
// is the thread's current one.
class CudaSpans final : public Trace::Source {
 public:
  // `row`: the lane's name. All outlive it. Throws Error.
  CudaSpans(Trace& trace, CudaSpanClock& clock, const std::string& row, cudaStream_t stream);
  ~CudaSpans() override;
  CudaSpans(const CudaSpans&) = delete;
  CudaSpans& operator=(const CudaSpans&) = delete;

  // Before and behind what is queued. `name` is a literal; null: no span. REQUIRES: the stream captures nothing.
  void Begin();
  void End(const char* name);
  // The stream has done all that was queued.
  void Emptied();
  // Waits for what is queued.
  void Flush() override;

 private:
  static constexpr int64_t kSpans = 1 << 14;  // of which the end was not read yet, at most
  struct Span {
    explicit Span(const std::string& where) : begin(where, cudaEventDefault), end(where, cudaEventDefault) {}
    CudaEventHandle begin, end;
    const char* name = nullptr;
    std::shared_ptr<const CudaSpanClock::Base> base;
  };

  // Hands spans that are done to the trace.
  void Harvest();

  Trace& trace_;
  CudaSpanClock& clock_;
  const std::string row_name_;
  const int row_;
  const cudaStream_t stream_;
  std::vector<std::unique_ptr<Span>> ring_;  // spans [harvested_, queued_) are on their way
  int64_t queued_ = 0;
  int64_t harvested_ = 0;
  bool begun_ = false;  // the span queued_
};

}  // namespace triforce
