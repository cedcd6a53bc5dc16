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
#include <vector>

namespace triforce {

// One lane's work until it throws an error; then it begins another. Shared by the lane, its events and what rests on
// them, which may outlive it. Thread-safe.
class LaneWork {
 public:
  // Work `number` has failed. Only the first failure counts: what comes behind it is not to be trusted anyway.
  void Fail(int64_t number, std::exception_ptr error);

 private:
  friend class RestsOn;
  static constexpr int64_t kNone = std::numeric_limits<int64_t>::max();

  std::atomic<bool> claimed_{false};
  std::exception_ptr error_;  // written before failed_, once
  int64_t time_ = 0;          // the same; orders failures of all lanes
  std::atomic<int64_t> failed_{kNone};
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
