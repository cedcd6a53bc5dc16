#include "kernels/core/team.h"

#include <hwy/base.h>
#include <hwy/cache_control.h>

#include "kernels/core/check.h"
#include "kernels/core/threads.h"

namespace triforce {
namespace {

constexpr int64_t kScratchAlignment = 64;
// Some tens of microseconds: longer than the gap between two ops, shorter than a scheduler's time slice.
constexpr int kSpins = 4000;

}  // namespace

Team::Team(int threads) {
  TF_CHECK(threads >= 1, "{} threads", threads);
  scratch_ = std::make_unique_for_overwrite<std::byte[]>(threads * kScratchBytes + kScratchAlignment);
  const auto address = reinterpret_cast<uintptr_t>(scratch_.get());
  std::byte* aligned = scratch_.get() + (kScratchAlignment - address % kScratchAlignment) % kScratchAlignment;
  for (int i = 0; i < threads; ++i) workers_.push_back({i, {aligned + i * kScratchBytes, kScratchBytes}});
  helpers_.reserve(threads - 1);
  try {
    for (int i = 1; i < threads; ++i)
      helpers_.push_back(StartThread([this, i] { HelperMain(workers_[i]); }, i - 1, threads));
  } catch (...) {  // those that run go before what they use
    Stop();
    throw;
  }
}

Team::~Team() { Stop(); }

void Team::Stop() {
  stop_.store(true);
  loops_.fetch_add(1);
  loops_.notify_all();
  for (std::thread& helper : helpers_) helper.join();
}

void Team::Share(const Loop& loop) {
  loop_ = loop;
  next_item_.store(0, std::memory_order_relaxed);
  state_.store(kOpen, std::memory_order_release);
  loops_.fetch_add(1, std::memory_order_release);
  loops_.notify_all();
  TakeItems(workers_[0]);
  state_.fetch_and(~kOpen, std::memory_order_acq_rel);
  for (int spins = 0; state_.load(std::memory_order_acquire) != 0; ++spins) {
    spins < kSpins ? hwy::Pause() : std::this_thread::yield();
  }
}

void Team::TakeItems(Worker& worker) {
  for (int64_t i; (i = next_item_.fetch_add(1, std::memory_order_relaxed)) < loop_.items;) {
    loop_.call(loop_.body, worker, i);
  }
}

void Team::HelperMain(Worker& worker) {
  uint32_t seen = 0;
  while (true) {
    for (int spins = 0; spins < kSpins && loops_.load(std::memory_order_acquire) == seen; ++spins) hwy::Pause();
    loops_.wait(seen, std::memory_order_acquire);
    // In this order: what was counted last may be the end itself, and nothing is counted behind it.
    seen = loops_.load(std::memory_order_acquire);
    if (stop_.load()) return;
    uint32_t state = state_.load(std::memory_order_acquire);
    while ((state & kOpen) != 0 && !state_.compare_exchange_weak(state, state + 1, std::memory_order_acq_rel)) {
    }
    if ((state & kOpen) == 0) continue;
    TakeItems(worker);
    state_.fetch_sub(1, std::memory_order_release);
  }
}

}  // namespace triforce
