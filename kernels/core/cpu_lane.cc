#include "kernels/core/cpu_lane.h"

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

void CpuEvent::State::Complete(uint64_t recording) {
  const std::lock_guard lock(mutex);
  completed = recording;
  changed.notify_all();
}

void CpuEvent::State::WaitUntil(uint64_t recording) const {
  std::unique_lock lock(mutex);
  changed.wait(lock, [&] { return completed >= recording; });
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
  Queue(nullptr, /*always=*/true,
        [state = cpu_event.state_, recording = ++cpu_event.recorded_](Team&) { state->Complete(recording); });
}

void CpuLane::WaitFor(const Event& event) {
  const CpuEvent& cpu_event = static_cast<const CpuEvent&>(event);
  Queue("wait", /*always=*/true,
        [state = cpu_event.state_, recording = cpu_event.recorded_](Team&) { state->WaitUntil(recording); });
}

void CpuLane::Synchronize() {
  std::unique_lock lock(mutex_);
  done_.wait(lock, [this] { return finished_ == queued_; });
  if (error_ != nullptr) std::rethrow_exception(std::exchange(error_, nullptr));
}

void CpuLane::Copy(void* destination, const void* source, int64_t bytes, const char* name) {
  Run(name, [=](Team&) { std::memcpy(destination, source, bytes); });
}

CpuLane::Task& CpuLane::BeginQueue() {
  std::unique_lock lock(mutex_);
  done_.wait(lock, [this] { return queued_ - finished_ < kQueuedTasks; });
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
    done_.notify_all();
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
