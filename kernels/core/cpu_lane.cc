#include "kernels/core/cpu_lane.h"

#include <sys/prctl.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <utility>

#include "kernels/core/check.h"
#include "kernels/core/device.h"
#include "kernels/core/trace.h"

namespace triforce {
bool CpuEvent::Done() const {
  const std::lock_guard lock(state_->mutex);
  return state_->completed >= recorded_;
}

void CpuEvent::Wait() const { state_->WaitUntil(recorded_); }

void CpuEvent::State::Complete(uint64_t recording, std::exception_ptr lane_error) {
  {
    const std::lock_guard lock(mutex);
    completed = recording;
    error = std::move(lane_error);
  }
  changed.notify_all();  // not under the lock, which the woken thread would only run into
}

std::exception_ptr CpuEvent::State::WaitUntil(uint64_t recording) const {
  std::unique_lock lock(mutex);
  changed.wait(lock, [&] { return completed >= recording; });
  return error;
}

CpuLane::CpuLane(Device& device, const LaneOptions& options, Trace* trace)
    : device_(device),
      options_(options),
      trace_(trace),
      trace_row_(trace == nullptr ? 0 : trace->AddRow(options.name)),
      tasks_(kQueuedTasks),
      thread_([this] { ThreadMain(); }) {}

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
  Queue(nullptr, /*always=*/true, [this, state = cpu_event.state_, recording = ++cpu_event.recorded_](Team&) {
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
  Queue("wait", /*always=*/true, [this, state = cpu_event.state_, recording = cpu_event.recorded_](Team&) {
    const int64_t begin_ns = Trace::Now();
    const std::exception_ptr error = state->WaitUntil(recording);
    waited_ns_ += Trace::Now() - begin_ns;
    if (error != nullptr) std::rethrow_exception(error);
  });
}

void CpuLane::Synchronize() {
  std::unique_lock lock(mutex_);
  done_.wait(lock, [this] { return finished_ == queued_; });
  if (error_ != nullptr) std::rethrow_exception(std::exchange(error_, nullptr));
}

void CpuLane::Copy(void* destination, const void* source, int64_t bytes, const char* name) {
  if (bytes == 0) return;  // an empty tensor has no address
  if (options_.copy_gbps > 0) {
    Run(name, [=, this](Team&) { ThrottledCopy(destination, source, bytes); });
  } else {
    Run(name, [=](Team&) { std::memcpy(destination, source, bytes); });
  }
}

void CpuLane::ThrottledCopy(void* destination, const void* source, int64_t bytes) {
  // What the system let the last copy oversleep was no use of the link: this one began so much earlier. Any other gap
  // between copies is the link's idle time, and stays lost.
  const int64_t end_ns =
      Trace::Now() - overslept_ns_ + static_cast<int64_t>(static_cast<double>(bytes) / options_.copy_gbps);
  std::memcpy(destination, source, bytes);
  overslept_ns_ = 0;
  const int64_t left_ns = end_ns - Trace::Now();
  if (left_ns <= 0) return;
  std::this_thread::sleep_for(std::chrono::nanoseconds(left_ns));
  overslept_ns_ = std::max<int64_t>(0, Trace::Now() - end_ns);
}

void CpuLane::Call(void (*function)(void* context), void* context, const char* name) {
  Queue(name, /*always=*/true, [function, context](Team&) { function(context); });
}

CpuLane::Task& CpuLane::BeginQueue() {
  std::unique_lock lock(mutex_);
  wants_room_ = queued_ - finished_ >= kQueuedTasks;
  done_.wait(lock, [this] { return queued_ - finished_ < kQueuedTasks; });
  wants_room_ = false;
  return tasks_[queued_ % kQueuedTasks];
}

void CpuLane::EndQueue() {
  {
    const std::lock_guard lock(mutex_);
    ++queued_;
  }
  work_.notify_one();
}

void CpuLane::ThreadMain() {
  Team team(options_.threads);
  ::prctl(PR_SET_TIMERSLACK, 1UL);  // throttled copies end on time, and not 50 us later
  std::unique_lock lock(mutex_);
  while (true) {
    work_.wait(lock, [this] { return stop_ || finished_ < queued_; });
    if (finished_ == queued_) return;
    Task& task = tasks_[finished_ % kQueuedTasks];
    const bool call = task.always || error_ == nullptr;
    lock.unlock();
    if (call) Execute(task, team);
    task.destroy(task.captures.data());
    lock.lock();
    ++finished_;
    // Whoever waits is woken when it can go on, and not for each task: at a core each, that costs as much as short ops.
    if (finished_ == queued_ || wants_room_) done_.notify_all();
  }
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
