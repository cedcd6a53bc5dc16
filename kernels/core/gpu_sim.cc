#include "kernels/core/gpu_sim.h"

#include <fmt/core.h>

#include <cstdlib>
#include <deque>
#include <memory>
#include <numeric>
#include <random>
#include <utility>
#include <vector>

#include "kernels/core/check.h"
#include "kernels/core/fiber.h"

namespace triforce::gpu {
namespace {

constexpr int kNanByte = 0xff;  // of f16, bf16 and f32 alike

struct AsyncCopy {
  void* to;
  const void* from;
  bool valid;
};

// Where a thread waits.
struct Waiting {
  const char* what = nullptr;  // null: it does not
  Site site;
};

struct Thread {
  SimThread place;
  bool ended = false;
  Waiting waiting;
  void* data = nullptr;                       // of a collective call
  std::vector<AsyncCopy> copies;              // of the group that is not committed yet
  std::deque<std::vector<AsyncCopy>> groups;  // that are
};

uint64_t sim_seed = 1;

std::string Where(const Waiting& waiting) {
  return fmt::format("{} at {}:{}", waiting.what, waiting.site.file_name(), waiting.site.line());
}

bool Same(const Waiting& a, const Waiting& b) {
  return a.what == b.what && a.site.line() == b.site.line() && a.site.column() == b.site.column();
}

// Fibers serve one block after another, of one grid after another: making one takes longer than a small block.
struct SimFiber {
  std::unique_ptr<Fiber> fiber;
  Fiber* self = nullptr;
};
thread_local std::vector<SimFiber> fibers;

// One grid of blocks.
class Grid {
 public:
  Grid(const GridShape& shape, int threads, int64_t shared_bytes, const char* name, const std::function<void()>& body)
      : shape_(shape), shared_bytes_(shared_bytes), name_(name), body_(body), random_(sim_seed), threads_(threads) {
    TF_CHECK(threads >= 1 && threads <= 1024 && threads % kWarpThreads == 0, "{}: {} threads", name, threads);
    TF_CHECK(shape.x < (int64_t{1} << 31) && shape.y < (1 << 16) && shape.z < (1 << 16), "{}: {} x {} x {} blocks",
             name, shape.x, shape.y, shape.z);
  }

  void Run() {
    while (fibers.size() < threads_.size()) {
      fibers.emplace_back();
      MakeFiber(fibers.size() - 1);
    }
    std::vector<int64_t> blocks(shape_.x * shape_.y * shape_.z);
    std::iota(blocks.begin(), blocks.end(), 0);
    std::shuffle(blocks.begin(), blocks.end(), random_);
    for (const int64_t block : blocks) RunBlock(block);
  }

  Thread& current() { return *current_; }

  void Barrier(const Waiting& where, void* data) {
    Thread& thread = *current_;
    thread.waiting = where;
    thread.data = data;
    fibers[thread.place.thread].self->Suspend();
  }

  [[noreturn]] void Fault(const std::string& what) const { throw SimFault(fmt::format("kernel {}: {}", name_, what)); }

 private:
  static void MakeFiber(size_t index);

  void RunBlock(int64_t block) {
    // Of its very size, so that ASan sees what lies beyond.
    void* shared = nullptr;
    TF_CHECK(::posix_memalign(&shared, 128, std::max<int64_t>(1, shared_bytes_)) == 0);
    const std::unique_ptr<void, decltype(&std::free)> memory(shared, &std::free);
    std::memset(shared, kNanByte, shared_bytes_);
    for (int i = 0; i < Count(); ++i) {
      Thread& t = threads_[i];
      t.place = {i,
                 Count(),
                 block % shape_.x,
                 block / shape_.x % shape_.y,
                 block / shape_.x / shape_.y,
                 shape_,
                 static_cast<std::byte*>(shared)};
      t.ended = false;
      t.waiting = {};
      t.copies.clear();
      t.groups.clear();
    }
    std::vector<int> ready(Count());
    std::iota(ready.begin(), ready.end(), 0);
    // In half of the blocks those that were released last go on first: a warp runs ahead of the others, to its barrier.
    const bool ahead = random_() % 2 == 0;
    int left = Count();
    while (left > 0) {
      if (ready.empty()) Release(ready);
      const size_t first = ahead && ready.size() > kWarpThreads ? ready.size() - kWarpThreads : 0;
      const auto pick = std::uniform_int_distribution<size_t>(first, ready.size() - 1)(random_);
      std::swap(ready[pick], ready.back());
      Thread& thread = threads_[ready.back()];
      ready.pop_back();
      current_ = &thread;
      fibers[thread.place.thread].fiber->Resume();
      current_ = nullptr;
      if (thread.ended) {
        --left;
      } else if (IsBlockBarrier(thread.waiting)) {
        continue;  // until nobody else can run
      } else {
        Arrive(thread, ready);
      }
    }
  }

  static bool IsBlockBarrier(const Waiting& waiting) { return waiting.what == kBlockBarrier; }

  int Count() const { return static_cast<int>(threads_.size()); }

  // A thread has come to something of its warp's: the last one to come performs it.
  void Arrive(Thread& thread, std::vector<int>& ready) {
    const int first = thread.place.thread / kWarpThreads * kWarpThreads;
    void* lanes[kWarpThreads];
    for (int i = 0; i < kWarpThreads; ++i) {
      const Thread& other = threads_[first + i];
      if (other.ended || other.waiting.what == nullptr || IsBlockBarrier(other.waiting)) return;
      lanes[i] = other.data;
    }
    for (int i = 0; i < kWarpThreads; ++i) {
      const Thread& other = threads_[first + i];
      if (!Same(other.waiting, thread.waiting)) {
        Fault(fmt::format("threads of one warp diverge: {} and {}", Where(other.waiting), Where(thread.waiting)));
      }
    }
    if (perform_[first / kWarpThreads] != nullptr) perform_[first / kWarpThreads](lanes);
    for (int i = 0; i < kWarpThreads; ++i) {
      threads_[first + i].waiting = {};
      ready.push_back(first + i);
    }
  }

  // Nobody can run: all wait at one block barrier, or something is wrong.
  void Release(std::vector<int>& ready) {
    const Thread* first = nullptr;
    for (const Thread& t : threads_) {
      if (t.ended) continue;
      if (first == nullptr) first = &t;
      if (!IsBlockBarrier(t.waiting))
        Fault(fmt::format("some threads of a warp never come to the {}", Where(t.waiting)));
      if (!Same(t.waiting, first->waiting)) {
        Fault(
            fmt::format("threads of one block wait at two places: {} and {}", Where(first->waiting), Where(t.waiting)));
      }
    }
    for (const Thread& t : threads_) {
      if (t.ended) Fault(fmt::format("a thread has ended while others wait at the {}", Where(first->waiting)));
    }
    for (int i = 0; i < Count(); ++i) {
      threads_[i].waiting = {};
      ready.push_back(i);
    }
  }

 public:
  static constexpr const char* kBlockBarrier = "barrier of the block";
  void SetPerform(int warp, void (*perform)(void* const* lanes)) { perform_[warp] = perform; }

 private:
  const GridShape shape_;
  const int64_t shared_bytes_;
  const char* const name_;
  const std::function<void()>& body_;
  std::mt19937_64 random_;
  std::vector<Thread> threads_;
  void (*perform_[1024 / kWarpThreads])(void* const* lanes) = {};
  Thread* current_ = nullptr;
};

thread_local Grid* running = nullptr;

void Grid::MakeFiber(size_t index) {
  fibers[index].fiber = std::make_unique<Fiber>([index](Fiber& self) {
    fibers[index].self = &self;
    for (;;) {  // a thread of a block each time
      Grid& grid = *running;
      grid.body_();
      CommitCopies();  // what nobody waited for happens all the same
      WaitCopiesBut(0);
      grid.current_->ended = true;
      self.Suspend();
    }
  });
}

void CheckAligned(const void* p, const char* what) {
  if (reinterpret_cast<uintptr_t>(p) % 16 != 0)
    running->Fault(fmt::format("{} of an address that is not aligned", what));
}

float ElementOf(uint32_t word, int half, float (*widen)(uint16_t)) {
  return widen(static_cast<uint16_t>(word >> (16 * half)));
}

struct MatrixRows {
  uint32_t* r;  // [4]
  const void* row;
};

// ldmatrix: element [i][j] of matrix m is element j of the row that lane 8 * m + i names.
template <bool kTransposed>
void PerformLoadMatrix(void* const* lanes) {
  const auto element = [&](int matrix, int row, int column) {
    uint16_t bits;
    std::memcpy(&bits,
                static_cast<const std::byte*>(static_cast<MatrixRows*>(lanes[8 * matrix + row])->row) + 2 * column,
                sizeof(bits));
    return static_cast<uint32_t>(bits);
  };
  for (int lane = 0; lane < kWarpThreads; ++lane) {
    const int g = lane / 4, t = lane % 4;
    for (int m = 0; m < 4; ++m) {
      const uint32_t low = kTransposed ? element(m, 2 * t, g) : element(m, g, 2 * t);
      const uint32_t high = kTransposed ? element(m, 2 * t + 1, g) : element(m, g, 2 * t + 1);
      static_cast<MatrixRows*>(lanes[lane])->r[m] = low | high << 16;
    }
  }
}

}  // namespace

void RunGrid(const GridShape& grid, int threads, int64_t shared_bytes, const char* name,
             const std::function<void()>& thread) {
  Grid run(grid, threads, shared_bytes, name, thread);
  Grid* const outer = std::exchange(running, &run);
  try {
    run.Run();
  } catch (...) {
    fibers.clear();  // some are in the middle of a block
    running = outer;
    throw;
  }
  running = outer;
}

void SetSimSeed(uint64_t seed) { sim_seed = seed; }

const SimThread& Current() { return running->current().place; }

void SyncThreads(Site site) { running->Barrier({Grid::kBlockBarrier, site}, nullptr); }

void SyncWarp(Site site) { Collective("barrier of the warp", nullptr, nullptr, site); }

void Collective(const char* what, void* data, void (*perform)(void* const* lanes), Site site) {
  running->SetPerform(WarpIndex(), perform);
  running->Barrier({what, site}, data);
}

uint32_t Ballot(bool predicate, Site site) {
  struct Vote {
    bool predicate;
    uint32_t result;
  } mine{predicate, 0};
  Collective(
      "vote", &mine,
      [](void* const* lanes) {
        uint32_t votes = 0;
        for (int i = 0; i < kWarpThreads; ++i)
          votes |= static_cast<uint32_t>(static_cast<Vote*>(lanes[i])->predicate) << i;
        for (int i = 0; i < kWarpThreads; ++i) static_cast<Vote*>(lanes[i])->result = votes;
      },
      site);
  return mine.result;
}

void CopyAsync16(void* shared, const void* global, bool valid) {
  CheckAligned(shared, "a copy to");
  CheckAligned(global, "a copy from");
  std::memset(shared, kNanByte, 16);
  running->current().copies.push_back({shared, global, valid});
}

void CommitCopies() {
  Thread& thread = running->current();
  thread.groups.push_back(std::move(thread.copies));
  thread.copies.clear();
}

void WaitCopiesBut(int pending) {
  auto& groups = running->current().groups;
  while (static_cast<int>(groups.size()) > pending) {
    for (const AsyncCopy& copy : groups.front()) {
      if (copy.valid) {
        std::memcpy(copy.to, copy.from, 16);
      } else {
        std::memset(copy.to, 0, 16);
      }
    }
    groups.pop_front();
  }
}

// Element k of a's and b's fragments: word k / 8 of b, words k / 8 * 2 + row / 8 of a; thread k % 8 / 2; half k % 2.
void PerformMma(void* const* lanes, float (*widen)(uint16_t bits)) {
  const auto of = [&](int lane) -> const MmaFragments& { return *static_cast<MmaFragments*>(lanes[lane]); };
  float a[16][16], b[8][16], sums[16][8];
  for (int k = 0; k < 16; ++k) {
    for (int row = 0; row < 16; ++row) {
      a[row][k] = ElementOf(of(row % 8 * 4 + k % 8 / 2).a[k / 8 * 2 + row / 8], k % 2, widen);
    }
    for (int column = 0; column < 8; ++column) {
      b[column][k] = ElementOf(of(column * 4 + k % 8 / 2).b[k / 8], k % 2, widen);
    }
  }
  for (int row = 0; row < 16; ++row) {
    for (int column = 0; column < 8; ++column) {
      float sum = of(row % 8 * 4 + column / 2).c[row / 8 * 2 + column % 2];
      for (int k = 0; k < 16; ++k) sum += a[row][k] * b[column][k];
      sums[row][column] = sum;
    }
  }
  for (int row = 0; row < 16; ++row) {
    for (int column = 0; column < 8; ++column)
      of(row % 8 * 4 + column / 2).c[row / 8 * 2 + column % 2] = sums[row][column];
  }
}

void LoadMatrix4(uint32_t (&r)[4], const void* row, Site site) {
  CheckAligned(row, "ldmatrix");
  MatrixRows mine{r, row};
  Collective("ldmatrix", &mine, PerformLoadMatrix<false>, site);
}

void LoadMatrix4Transposed(uint32_t (&r)[4], const void* row, Site site) {
  CheckAligned(row, "ldmatrix");
  MatrixRows mine{r, row};
  Collective("ldmatrix.trans", &mine, PerformLoadMatrix<true>, site);
}

uint32_t Permute(uint32_t a, uint32_t b, uint32_t selector) {
  const uint64_t bytes = static_cast<uint64_t>(b) << 32 | a;
  uint32_t result = 0;
  for (int i = 0; i < 4; ++i) result |= static_cast<uint32_t>(bytes >> (selector >> (4 * i) & 7) * 8 & 0xff) << (8 * i);
  return result;
}

Words4 Load16(const void* p) {
  CheckAligned(p, "a load of 16 bytes");
  Words4 v;
  std::memcpy(&v, p, sizeof(v));
  return v;
}

void Trap(const char* message) {
  running->Fault(message);
  std::abort();
}

}  // namespace triforce::gpu
