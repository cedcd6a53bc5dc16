// CpuLane and CpuEvent: the CPU device's lane is a thread that takes tasks in order, with a Team for each task's loops.
// Where work may wait (LaneOptions::on_demand), whoever calls Synchronize takes them as well as the thread.
//
// CPU ops queue themselves with Run. See lane.h for the contract that all lanes share.
#pragma once

#include <array>
#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <exception>
#include <memory>
#include <mutex>
#include <new>
#include <string>
#include <thread>
#include <type_traits>
#include <vector>

#include "kernels/core/lane.h"
#include "kernels/core/team.h"

namespace triforce {

class Trace;

class CpuEvent final : public Event {
 public:
  bool Done() const override;
  void Wait() const override;

 private:
  friend class CpuLane;
  struct State {
    mutable std::mutex mutex;
    mutable std::condition_variable changed;
    uint64_t completed = 0;    // guarded by mutex: the latest recording whose work is done
    int64_t completed_ns = 0;  // guarded by mutex: since when, by Trace::Now
    // Recordings of a lane that had failed by then, with its error. Whoever waits for one of them may come to it after
    // the event has been recorded again, so that all are kept; an error is rare, and the recordings after it are one
    // entry.
    struct Failed {
      uint64_t first = 0, last = 0;
      std::exception_ptr error;
    };
    std::vector<Failed> failed;  // guarded by mutex: ascending
    void Complete(uint64_t recording, std::exception_ptr lane_error);
    struct Completion {
      int64_t time_ns = 0;
      std::exception_ptr error;
    };
    Completion WaitUntil(uint64_t recording) const;
  };
  // Shared with the tasks in the lanes' queues, which may run after the event is gone.
  std::shared_ptr<State> state_ = std::make_shared<State>();
  uint64_t recorded_ = 0;
};

class CpuLane final : public Lane {
 public:
  // Rows of `trace` (may be null) get this lane's spans. Throws Error (kOutOfMemory) where the system refuses a thread.
  CpuLane(Device& device, const LaneOptions& options, Trace* trace);
  // Waits for what is queued.
  ~CpuLane() override;

  Device& device() const override { return device_; }
  const std::string& name() const override { return options_.name; }
  void Record(Event& event) override;
  void WaitFor(const Event& event) override;
  void Synchronize() override;
  void Copy(void* destination, const void* source, int64_t bytes, const char* name) override;
  void CopyPieces(std::span<const CopyPiece> pieces, const char* name) override;
  void Call(void (*function)(void* context), void* context, const char* name) override;
  int64_t waited_ns() const override { return waited_ns_.load(); }

  // Queues task(team), to be called on the lane's thread. `name` (a literal) is the span's in the trace, none if null.
  // Nothing is allocated: a task's captures have to fit kTaskBytes. Waits while the queue is full.
  template <typename F>
  void Run(const char* name, F task) {
    Queue(name, {}, std::move(task));
  }

 private:
  static constexpr size_t kTaskBytes = 768;
  static constexpr size_t kQueuedTasks = 1024;

  struct Task {
    alignas(std::max_align_t) std::array<std::byte, kTaskBytes> captures;
    void (*call)(std::byte* captures, Team& team) = nullptr;
    void (*destroy)(std::byte* captures) = nullptr;
    const char* name = nullptr;
    int64_t queued_ns = 0;
    bool always = false;
  };

  struct TaskKind {
    bool always = false;  // also after an error: what others wait for
    bool starts = false;  // and the lane's thread takes what is queued, on demand or not
  };

  template <typename F>
  void Queue(const char* name, const TaskKind& kind, F task) {
    static_assert(sizeof(F) <= kTaskBytes && alignof(F) <= alignof(std::max_align_t));
    static_assert(std::is_nothrow_move_constructible_v<F>);
    Task& slot = BeginQueue();
    new (slot.captures.data()) F(std::move(task));
    slot.call = [](std::byte* captures, Team& team) { (*std::launder(reinterpret_cast<F*>(captures)))(team); };
    slot.destroy = [](std::byte* captures) { std::launder(reinterpret_cast<F*>(captures))->~F(); };
    slot.name = name;
    slot.always = kind.always;
    EndQueue(kind.starts);
  }

  Task& BeginQueue();  // waits for a free slot, which is the caller's until EndQueue
  void EndQueue(bool starts);
  void ThreadMain();
  // Takes tasks until none is left. REQUIRES: mutex_ is held, and nobody else is at it.
  void TakeTasks(std::unique_lock<std::mutex>& lock);
  // Calls copy(), which copies `bytes` bytes, and takes as long as the link would.
  template <typename F>
  void Throttled(int64_t bytes, const char* name, const F& copy);
  void Execute(Task& task, Team& team);

  Device& device_;
  const LaneOptions options_;
  Trace* const trace_;
  const int trace_row_;

  std::atomic<int64_t> waited_ns_{0};
  // Of whoever takes tasks, for throttled copies: since when the running task could have begun, and the link is free.
  int64_t ready_ns_ = 0;
  int64_t link_free_ns_ = 0;

  std::vector<Task> tasks_;  // a ring: slots [finished_, queued_) are waiting or running
  std::mutex mutex_;
  std::condition_variable work_;  // there is something for the lane's thread
  std::condition_variable done_;  // the queue is empty, or has room where it had none
  bool started_;                  // guarded by mutex_: what is queued is the thread's; on demand it is not at first
  bool taking_ = false;           // guarded by mutex_: somebody is at TakeTasks
  uint64_t queued_ = 0;           // guarded by mutex_
  uint64_t finished_ = 0;         // guarded by mutex_
  bool wants_room_ = false;       // guarded by mutex_: the queueing thread waits for a free slot
  bool stop_ = false;             // guarded by mutex_
  std::exception_ptr error_;      // guarded by mutex_
  Team team_;
  std::thread thread_;
};

// `lane` as a CpuLane. REQUIRES: it is one.
CpuLane& AsCpu(Lane& lane);

}  // namespace triforce
