// Team: the threads of one CPU lane, which share the items of one loop at a time.
//
// The thread that calls For is worker 0; the others are the Team's own. Between loops they spin for a
// moment, so that the short ops of a decoding step follow one another without system calls, and then sleep. A loop does
// not wait for a helper that has not come: one that is late finds nothing left to do.
// Each lane has a Team of its own, so that work on two lanes truly overlaps.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <thread>
#include <vector>

namespace triforce {

// What one thread of a Team has to itself.
struct Worker {
  int index = 0;
  std::span<std::byte> scratch;  // Team::kScratchBytes, aligned to 64; its content does not outlive the item
};

class Team {
 public:
  static constexpr int64_t kScratchBytes = int64_t{4} << 20;  // of address space: what is not used is no memory

  // Throws Error (kOutOfMemory) where the system refuses a thread. REQUIRES: threads >= 1.
  explicit Team(int threads);
  Team(const Team&) = delete;
  Team& operator=(const Team&) = delete;
  ~Team();

  int threads() const { return static_cast<int>(workers_.size()); }

  // Calls body(worker, i) once for each i in [0, items), on whichever thread is free, and returns when all are done.
  // `body` must not throw. Called by one thread at a time, not from within a body.
  template <typename Body>
  void For(int64_t items, const Body& body) {
    if (items <= 1 || workers_.size() == 1) {
      for (int64_t i = 0; i < items; ++i) body(workers_[0], i);
      return;
    }
    Share({&body, items,
           [](const void* context, Worker& worker, int64_t i) { (*static_cast<const Body*>(context))(worker, i); }});
  }

 private:
  struct Loop {
    const void* body = nullptr;
    int64_t items = 0;
    void (*call)(const void* body, Worker& worker, int64_t i) = nullptr;
  };

  void Stop();  // and joins
  void Share(const Loop& loop);
  void TakeItems(Worker& worker);
  void HelperMain(Worker& worker);

  std::unique_ptr<std::byte[]> scratch_;
  std::vector<Worker> workers_;
  std::vector<std::thread> helpers_;

  static constexpr uint32_t kOpen = 1u << 31;

  Loop loop_;                          // written by Share while no helper is in it
  std::atomic<int64_t> next_item_{0};  // of loop_
  std::atomic<uint32_t> state_{0};     // kOpen: helpers may join loop_; below it, how many are in it
  std::atomic<uint32_t> loops_{0};     // how many loops were shared; helpers wait for it to rise
  std::atomic<bool> stop_{false};
};

}  // namespace triforce
