#include "kernels/core/lane_work.h"

#include <algorithm>
#include <utility>

namespace triforce {

void LaneWork::Fail(int64_t number, std::exception_ptr error) {
  static std::atomic<int64_t> times{0};
  if (claimed_.exchange(true)) return;
  error_ = std::move(error);
  time_ = times.fetch_add(1);
  failed_.store(number, std::memory_order_release);
}

void RestsOn::Add(const std::shared_ptr<LaneWork>& work, int64_t end) {
  for (Entry& entry : entries_) {
    if (entry.work != work) continue;
    entry.end = std::max(entry.end, end);
    return;
  }
  entries_.push_back({work, end});
}

void RestsOn::Add(const RestsOn& other) {
  for (const Entry& entry : other.entries_) Add(entry.work, entry.end);
}

std::exception_ptr RestsOn::Failure() const {
  const LaneWork* first = nullptr;
  for (const Entry& entry : entries_) {
    if (entry.work->failed_.load(std::memory_order_acquire) >= entry.end) continue;
    if (first == nullptr || entry.work->time_ < first->time_) first = entry.work.get();
  }
  return first == nullptr ? nullptr : first->error_;
}

}  // namespace triforce
