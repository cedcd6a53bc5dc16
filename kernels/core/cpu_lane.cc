#include "kernels/core/cpu_lane.h"

#include <sched.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <utility>

#include "kernels/core/check.h"
#include "kernels/core/device.h"
#include "kernels/core/threads.h"
#include "kernels/core/trace.h"

namespace triforce {
namespace {

// Lets this thread run as soon as it wakes up, although others want to go on: Linux gives way to the shorter slice
// (since 6.12). Needs no rights; without it the thread waits up to some milliseconds for a core.
void RequestShortSlices() {
  struct {  // sched_attr of sched_setattr(2), which the C library has no name for
    uint32_t size;
    uint32_t policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime, deadline, period;
  } attributes{.size = sizeof(attributes), .policy = SCHED_OTHER, .runtime = 100'000};
  if (::syscall(SYS_sched_setattr, 0, &attributes, 0) != 0) return;  // an old kernel
}

}  // namespace

bool CpuEvent::Done() const {
  const std::lock_guard lock(state_->mutex);
  return state_->completed >= recorded_;
}

void CpuEvent::Wait() const { state_->WaitUntil(recorded_); }

void CpuEvent::State::Complete(uint64_t recording, std::exception_ptr lane_error) {
  {
    const std::lock_guard lock(mutex);
    completed = recording;
    completed_ns = Trace::Now();
    if (lane_error != nullptr) {
      const bool goes_on = !failed.empty() && failed.back().last + 1 == recording && failed.back().error == lane_error;
      if (goes_on) {
        failed.back().last = recording;
      } else {
        failed.push_back({recording, recording, std::move(lane_error)});
      }
    }
  }
  changed.notify_all();  // not under the lock, which the woken thread would only run into
}

CpuEvent::State::Completion CpuEvent::State::WaitUntil(uint64_t recording) const {
  std::unique_lock lock(mutex);
  changed.wait(lock, [&] { return completed >= recording; });
  const auto of = std::find_if(failed.begin(), failed.end(),
                               [&](const Failed& f) { return f.first <= recording && recording <= f.last; });
  return {completed_ns, of == failed.end() ? nullptr : of->error};
}

CpuLane::CpuLane(Device& device, const LaneOptions& options, Trace* trace)
    : device_(device),
      options_(options),
      trace_(trace),
      trace_row_(trace == nullptr ? 0 : trace->AddRow(options.name)),
      tasks_(kQueuedTasks),
      started_(!options.on_demand),
      team_(options.threads),
      thread_(StartThread([this] { ThreadMain(); }, options.threads - 1, options.threads)) {}

CpuLane::~CpuLane() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  work_.notify_one();
  thread_.join();
}

void CpuLane::Record(Event& event) {
  CpuEvent& cpu_event = static_cast<CpuEvent&>(event);
  const TaskKind kind{.always = true, .starts = true};
  Queue(nullptr, kind, [this, state = cpu_event.state_, recording = ++cpu_event.recorded_](Team&) {
    std::exception_ptr error;
    {
      const std::lock_guard lock(mutex_);
      error = error_;
    }
    state->Complete(recording, error);
  });
}

void CpuLane::WaitFor(const Event& event) {
  const CpuEvent& cpu_event = static_cast<const CpuEvent&>(event);
  Queue("wait", {.always = true}, [this, state = cpu_event.state_, recording = cpu_event.recorded_](Team&) {
    const int64_t begin_ns = Trace::Now();
    const CpuEvent::State::Completion completion = state->WaitUntil(recording);
    waited_ns_ += Trace::Now() - begin_ns;
    ready_ns_ = std::max(ready_ns_, completion.time_ns);
    if (completion.error != nullptr) std::rethrow_exception(completion.error);
  });
}

void CpuLane::Synchronize() {
  std::unique_lock lock(mutex_);
  if (options_.on_demand && !taking_) TakeTasks(lock);
  done_.wait(lock, [this] { return finished_ == queued_; });
  if (error_ != nullptr) std::rethrow_exception(std::exchange(error_, nullptr));
}

// The link as a DMA engine behind a queue: a copy begins when the one before it has ended and what it waits for is
// done, not when this thread has woken up to see that. It ends when the link would be through, or later, when the
// bytes are there.
template <typename F>
void CpuLane::Throttled(int64_t bytes, const char* name, const F& copy) {
  const int64_t begin_ns = std::max(link_free_ns_, ready_ns_);
  link_free_ns_ = begin_ns + static_cast<int64_t>(static_cast<double>(bytes) / options_.copy_gbps);
  copy();
  const int64_t left_ns = link_free_ns_ - Trace::Now();
  if (left_ns > 0) {
    std::this_thread::sleep_for(std::chrono::nanoseconds(left_ns));
  } else {
    link_free_ns_ -= left_ns;
  }
  if (trace_ != nullptr && name != nullptr) trace_->Add(trace_row_, name, begin_ns, link_free_ns_);
}

void CpuLane::Copy(void* destination, const void* source, int64_t bytes, const char* name) {
  if (bytes == 0) return;  // an empty tensor has no address
  if (options_.copy_gbps > 0) {
    Run(nullptr, [=, this](Team&) { Throttled(bytes, name, [&] { std::memcpy(destination, source, bytes); }); });
  } else {
    Run(name, [=](Team&) { std::memcpy(destination, source, bytes); });
  }
}

void CpuLane::CopyPieces(std::span<const CopyPiece> pieces, const char* name) {
  const auto copy = [pieces] {
    for (const CopyPiece& piece : pieces) std::memcpy(piece.destination, piece.source, piece.bytes);
  };
  if (pieces.empty()) return;
  if (options_.copy_gbps > 0) {
    int64_t bytes = 0;
    for (const CopyPiece& piece : pieces) bytes += piece.bytes;
    Run(nullptr, [=, this](Team&) { Throttled(bytes, name, copy); });
  } else {
    Run(name, [=](Team&) { copy(); });
  }
}

void CpuLane::Call(void (*function)(void* context), void* context, const char* name) {
  Queue(name, {.always = true, .starts = true}, [this, function, context](Team&) {
    function(context);
    ready_ns_ = Trace::Now();
  });
}

CpuLane::Task& CpuLane::BeginQueue() {
  std::unique_lock lock(mutex_);
  wants_room_ = queued_ - finished_ >= kQueuedTasks;
  if (wants_room_ && !std::exchange(started_, true)) work_.notify_one();
  done_.wait(lock, [this] { return queued_ - finished_ < kQueuedTasks; });
  wants_room_ = false;
  return tasks_[queued_ % kQueuedTasks];
}

void CpuLane::EndQueue(bool starts) {
  const int64_t now = Trace::Now();
  {
    const std::lock_guard lock(mutex_);
    tasks_[queued_ % kQueuedTasks].queued_ns = now;
    ++queued_;
    started_ = started_ || starts;
    if (!started_) return;
  }
  work_.notify_one();
}

void CpuLane::ThreadMain() {
  if (options_.high_priority) RequestShortSlices();
  ::prctl(PR_SET_TIMERSLACK, 1UL);  // throttled copies end on time, and not 50 us later
  std::unique_lock lock(mutex_);
  while (true) {
    work_.wait(lock, [this] { return stop_ || (finished_ < queued_ && !taking_ && started_); });
    if (finished_ == queued_) return;
    TakeTasks(lock);
  }
}

void CpuLane::TakeTasks(std::unique_lock<std::mutex>& lock) {
  taking_ = true;
  while (finished_ < queued_) {
    Task& task = tasks_[finished_ % kQueuedTasks];
    const bool call = task.always || error_ == nullptr;
    ready_ns_ = std::max(ready_ns_, task.queued_ns);
    lock.unlock();
    if (call) Execute(task, team_);
    task.destroy(task.captures.data());
    lock.lock();
    ++finished_;
    // Whoever waits is woken when it can go on, and not for each task: at a core each, that costs as much as short ops.
    if (finished_ == queued_ || wants_room_) done_.notify_all();
  }
  taking_ = false;
  started_ = !options_.on_demand;
}

void CpuLane::Execute(Task& task, Team& team) {
  const bool traced = trace_ != nullptr && task.name != nullptr;
  const int64_t begin_ns = traced ? Trace::Now() : 0;
  try {
    task.call(task.captures.data(), team);
  } catch (...) {
    const std::lock_guard lock(mutex_);
    if (error_ == nullptr) error_ = std::current_exception();
  }
  if (traced) trace_->Add(trace_row_, task.name, begin_ns, Trace::Now());
}

CpuLane& AsCpu(Lane& lane) {
  TF_CHECK(lane.device().type() == DeviceType::kCpu, "lane {} is not the CPU's", lane.name());
  return static_cast<CpuLane&>(lane);
}

}  // namespace triforce
