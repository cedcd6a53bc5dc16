#include "kernels/core/lane_work.h"

#include <algorithm>
#include <utility>

namespace triforce {

void LaneWork::Fail(int64_t number, std::exception_ptr error) {
  static std::atomic<int64_t> times{0};
  const std::lock_guard lock(mutex_);
  if (number >= lowest_.number) return;
  lowest_ = {number, std::move(error), times.fetch_add(1)};
  if (first_.number == kNone) first_ = lowest_;
  any_.store(true, std::memory_order_release);
}

LaneWork::Failed LaneWork::FailedBelow(int64_t end) const {
  if (!any_.load(std::memory_order_acquire)) return {};
  const std::lock_guard lock(mutex_);
  if (first_.number < end) return first_;
  return lowest_.number < end ? lowest_ : Failed{};
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
  LaneWork::Failed first;
  for (const Entry& entry : entries_) {
    LaneWork::Failed failed = entry.work->FailedBelow(entry.end);
    if (failed.number == LaneWork::kNone) continue;
    if (first.number == LaneWork::kNone || failed.time < first.time) first = std::move(failed);
  }
  return first.error;
}

}  // namespace triforce
