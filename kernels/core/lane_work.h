// Which work of a device's lanes has failed, and what rests on it: for lanes whose device does not say so itself.
//
// A stream of a GPU goes on behind a host function that has thrown, and behind an event of a stream where that has
// happened. So a lane numbers what it queues, and keeps how far it rests on the work of each lane whose events it has
// waited for (a vector clock: Mattern, "Virtual Time and Global States of Distributed Systems", 1989). An event takes
// that along. What has failed is looked up at the end, when all of it is done.
#pragma once

#include <atomic>
#include <cstdint>
#include <exception>
#include <limits>
#include <memory>
#include <mutex>
#include <vector>

namespace triforce {

// One lane's work until it throws an error; then it begins another. Shared by the lane, its events and what rests on
// them, which may outlive it. Thread-safe.
class LaneWork {
 public:
  // Work `number` has failed. What rests on it fails with the failure that came first in time, or, where it does not
  // rest on that, with the one of the lowest number: a refused call is known before queued work that fails before it.
  void Fail(int64_t number, std::exception_ptr error);

 private:
  friend class RestsOn;
  static constexpr int64_t kNone = std::numeric_limits<int64_t>::max();

  struct Failed {
    int64_t number = kNone;
    std::exception_ptr error;
    int64_t time = 0;  // orders failures of all lanes
  };
  // Of the work below `end`; number kNone where there is none.
  Failed FailedBelow(int64_t end) const;

  std::atomic<bool> any_{false};  // nearly always false: then there is nothing to lock
  mutable std::mutex mutex_;
  Failed first_, lowest_;  // guarded by mutex_
};

// The works that something rests on, each up to some number. Copying into one that was as large before allocates
// nothing. Not thread-safe.
class RestsOn {
 public:
  // On the work of `work` with numbers below `end`.
  void Add(const std::shared_ptr<LaneWork>& work, int64_t end);
  void Add(const RestsOn& other);
  void Clear() { entries_.clear(); }

  // The failure that came first among them; null where there is none so far.
  std::exception_ptr Failure() const;

 private:
  struct Entry {
    std::shared_ptr<LaneWork> work;
    int64_t end;
  };
  std::vector<Entry> entries_;
};

}  // namespace triforce
