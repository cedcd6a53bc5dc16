// CudaStreamLane and CudaEvent: a GPU's lane is a stream that no other stream waits for unless an event says so.
//
// See lane.h for the contract that all lanes share, and cuda_lane.h for what ops need besides. What is particular here:
//
// Errors. What a call of the runtime refuses is known at once, what a host function throws a little later, a kernel's
// fault when the host waits. Work that the stream has by then still runs, on whatever bytes are there: only copies
// queued later are passed over. Its events complete, Synchronize throws what came first, and so does that of each lane
// that rests on it (lane_work.h). A fault ends all work of the process on the GPU; host functions that are still queued
// are then called by Synchronize, or by the lane's end.
//
// Copies. They are asynchronous between device memory and pinned memory (Device::Pin). Pageable memory works, but the
// host waits for such a copy where it comes from the device, and partly where it goes there. A host function may fill
// pageable memory for a copy that is queued behind it on the same lane; for another lane's copy the memory has to be
// pinned.
//
// Capture. The stream captures its own thread's calls (cudaStreamCaptureModeThreadLocal). What a call is refused with
// meanwhile is thrown by Capture, and concerns nothing that is queued.
//
// Host functions are called by a thread of the driver, of all lanes one after another: one must not wait for another
// lane's, nor call CUDA.
#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "kernels/core/buffer.h"
#include "kernels/core/cuda_handles.h"
#include "kernels/core/cuda_lane.h"
#include "kernels/core/cuda_spans.h"
#include "kernels/core/cuda_wait_times.h"
#include "kernels/core/error.h"
#include "kernels/core/host_calls.h"
#include "kernels/core/lane_work.h"

namespace triforce {

class CudaDevice;

class CudaEvent final : public Event {
 public:
  // On the thread's current device. `where` stands in errors.
  explicit CudaEvent(const std::string& where);

  bool Done() const override { return handle_.done(); }
  // Spins: what waits for a round's end wants to know at once.
  void Wait() const override;

 private:
  friend class CudaStreamLane;
  CudaEventHandle handle_;
  RestsOn rests_on_;  // what was recorded
};

class CudaStreamLane final : public CudaLane {
 public:
  // Throws Error. REQUIRES: the device is the thread's current one.
  CudaStreamLane(CudaDevice& device, const LaneOptions& options);
  // Waits for what is queued.
  ~CudaStreamLane() override;

  Device& device() const override;
  const std::string& name() const override { return options_.name; }
  void Record(Event& event) override;
  void WaitFor(const Event& event) override;
  void Synchronize() override;
  void Call(void (*function)(void* context), void* context, const char* name) override;
  int64_t waited_ns() const override;
  void Copy(void* destination, const void* source, int64_t bytes, const char* name) override;
  // In one call of the driver, where all it takes is there; else one by one. The first piece tells for all of them
  // whether the memory is pinned.
  void CopyPieces(std::span<const CopyPiece> pieces, const char* name) override;

  // Makes the device the thread's current one, as launching a kernel needs it.
  void* stream() const override;
  int multiprocessors() const override;
  bool captures() const override { return true; }
  std::unique_ptr<Graph> Capture(const std::function<void()>& queue) override;
  void Replay(const Graph& graph) override;
  std::byte* Scratch(int64_t bytes) override;
  void Keep(int code, const char* name) override;
  void BeginSpan() override;
  void EndSpan(const char* name) override;

 private:
  std::string where() const;
  // What went wrong where `call` returned `code`; makes it the lane's.
  Error ErrorOf(int code, const std::string& call) const;
  void Fail(int code, const std::string& call);
  // All that was queued so far, and what it rests on.
  const RestsOn& RestsNow();
  // Whether copies from `source` on are of no use any more, as far as that is known. Before that, waits for host
  // functions that may still fill it, where it is pageable: the driver reads it when a copy is queued.
  bool PassedOver(const void* source);
  // Queues copy(), which queues `bytes` bytes, so that it takes as long as the link would.
  template <typename F>
  void Throttled(int64_t bytes, const F& copy);
  void CopyNow(const CopyPiece& piece);
  void CheckNotCaptured(const char* call) const;
  // Keeps what is wrong with a copy that is captured, if anything is.
  void CheckCaptured(const CopyPiece& piece);
  // False, and nothing queued, where the driver does not do that.
  bool CopyBatch(std::span<const CopyPiece> pieces);

  CudaDevice& device_;
  const LaneOptions options_;
  CudaStream stream_;
  mutable CudaWaitTimes waits_;
  const std::unique_ptr<CudaSpans> spans_;  // null where there is no trace

  std::shared_ptr<LaneWork> work_ = std::make_shared<LaneWork>();
  int64_t queued_ = 0;  // numbers of work_ so far
  RestsOn rests_on_;    // RestsNow, as of the last time
  HostCalls calls_;
  const char* last_kernel_ = nullptr;  // that was queued
  bool captures_now_ = false;
  std::exception_ptr capture_error_;  // the first of the calls that are captured

  Buffer scratch_;
  Buffer link_clock_;  // of a lane with copy_gbps
  bool batches_;       // the driver copies many pieces in one call
  // Of CopyPieces, kept so that nothing is allocated.
  std::vector<void*> destinations_;
  std::vector<const void*> sources_;
  std::vector<size_t> sizes_;
};

}  // namespace triforce
