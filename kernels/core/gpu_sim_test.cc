// The simulator finds what it is there for: each mistake below is one that a kernel could have and a GPU would not
// name.
#include <doctest/doctest.h>

#include <cmath>
#include <numeric>
#include <string>
#include <vector>

#include "kernels/core/gpu_launch.h"
#include "kernels/core/sim_device.h"

namespace triforce {
namespace {

constexpr int kThreads = 64;
constexpr int64_t kMemoryBytes = int64_t{256} << 20;

class Gpu {
 public:
  CudaLane& lane() { return static_cast<CudaLane&>(*lane_); }
  template <typename T>
  T* New(int64_t count) {
    buffers_.push_back(device_.Allocate(count * static_cast<int64_t>(sizeof(T)), "a test's values"));
    return reinterpret_cast<T*>(buffers_.back().data());
  }

 private:
  SimDevice device_{kMemoryBytes};
  std::unique_ptr<Lane> lane_ = device_.NewLane({.name = "test"});
  std::vector<Buffer> buffers_;
};

// out[block] = the sum of the block's values, by halves.
template <bool kWithBarrier>
TF_KERNEL(kThreads)
SumKernel(const int32_t* values, int32_t* out) {
  int32_t* const sums = gpu::Shared<int32_t>();
  const int i = gpu::ThreadIndex();
  sums[i] = values[gpu::BlockX() * kThreads + i];
  gpu::SyncThreads();
  for (int half = kThreads / 2; half > 0; half /= 2) {
    if (i < half) sums[i] += sums[i + half];
    if (kWithBarrier) gpu::SyncThreads();
  }
  if (i == 0) out[gpu::BlockX()] = sums[0];
}

template <bool kWithBarrier>
bool SumsAreRight(uint64_t seed) {
  Gpu gpu;
  constexpr int kBlocks = 5;
  int32_t* const values = gpu.New<int32_t>(kBlocks * kThreads);
  int32_t* const out = gpu.New<int32_t>(kBlocks);
  std::iota(values, values + kBlocks * kThreads, 1);
  gpu::SetSimSeed(seed);
  Launch<SumKernel<kWithBarrier>>(gpu.lane(), "sum", {.x = kBlocks, .threads = kThreads, .shared_bytes = kThreads * 4},
                                  values, out);
  for (int b = 0; b < kBlocks; ++b) {
    if (out[b] != std::accumulate(values + b * kThreads, values + (b + 1) * kThreads, 0)) return false;
  }
  return true;
}

TEST_CASE("simulator: a reduction is right whatever the order of threads, and wrong without its barrier") {
  int wrong = 0;
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    CHECK(SumsAreRight<true>(seed));
    wrong += !SumsAreRight<false>(seed);
  }
  CHECK(wrong >= 19);
}

// Twice: warps put their sums into shared memory, threads add them up. out[round] = the sum of round + ThreadIndex().
constexpr int kManyThreads = 512;
template <bool kWithBarrier>
TF_KERNEL(kManyThreads)
TwoSumsKernel(int32_t* out) {
  int32_t* const warps = gpu::Shared<int32_t>();
  for (int round = 0; round < 2; ++round) {
    int32_t sum = round + gpu::ThreadIndex();
    for (int mask = 16; mask > 0; mask /= 2) sum += gpu::ShuffleXor(sum, mask);
    if (gpu::LaneIndex() == 0) warps[gpu::WarpIndex()] = sum;
    gpu::SyncThreads();
    int32_t all = 0;
    for (int warp = 0; warp < kManyThreads / 32; ++warp) all += warps[warp];
    if (gpu::ThreadIndex() == 0) out[round] = all;
    if (kWithBarrier) gpu::SyncThreads();
  }
}

template <bool kWithBarrier>
bool TwoSumsAreRight(uint64_t seed) {
  Gpu gpu;
  int32_t* const out = gpu.New<int32_t>(2);
  gpu::SetSimSeed(seed);
  Launch<TwoSumsKernel<kWithBarrier>>(gpu.lane(), "sums", {.threads = kManyThreads, .shared_bytes = kManyThreads / 8},
                                      out);
  const int32_t expected = kManyThreads * (kManyThreads - 1) / 2;
  return out[0] == expected && out[1] == expected + kManyThreads;
}

TEST_CASE("simulator: a warp that runs ahead overwrites what others have not read") {
  int wrong = 0;
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    CHECK(TwoSumsAreRight<true>(seed));
    wrong += !TwoSumsAreRight<false>(seed);
  }
  CHECK(wrong >= 3);
}

TF_KERNEL(kThreads) BarrierInABranchKernel() {
  if (gpu::ThreadIndex() < 40) gpu::SyncThreads();
}
TF_KERNEL(kThreads) TwoBarriersKernel() {
  if (gpu::ThreadIndex() < 32) {
    gpu::SyncThreads();
  } else {
    gpu::SyncThreads();
  }
}
TF_KERNEL(kThreads) ShuffleInABranchKernel(int* out) {
  if (gpu::LaneIndex() < 16) out[gpu::ThreadIndex()] = gpu::ShuffleXor(1, 1);
}
TF_KERNEL(kThreads) TwoShufflesKernel(int* out) {
  if (gpu::LaneIndex() < 16) {
    out[gpu::ThreadIndex()] = gpu::ShuffleXor(1, 1);
  } else {
    out[gpu::ThreadIndex()] = gpu::ShuffleXor(2, 1);
  }
}
TF_KERNEL(kThreads) TrapKernel(int64_t id) {
  if (id < 0) gpu::Trap("an id below 0");
}

// What launching it says.
template <auto kKernel, typename... Args>
std::string FaultOf(const Args&... args) {
  Gpu gpu;
  try {
    Launch<kKernel>(gpu.lane(), "faulty", {.x = 2, .threads = kThreads}, args...);
  } catch (const gpu::SimFault& fault) {
    return fault.what();
  }
  return "";
}

TEST_CASE("simulator: barriers and collective calls that not all threads come to are faults") {
  CHECK(FaultOf<BarrierInABranchKernel>().find("has ended while others wait at the barrier") != std::string::npos);
  CHECK(FaultOf<TwoBarriersKernel>().find("wait at two places") != std::string::npos);
  Gpu gpu;
  int* const out = gpu.New<int>(kThreads);
  CHECK(FaultOf<ShuffleInABranchKernel>(out).find("never come to the shuffle") != std::string::npos);
  CHECK(FaultOf<TwoShufflesKernel>(out).find("diverge") != std::string::npos);
  CHECK(FaultOf<TrapKernel>(int64_t{-1}) == "kernel faulty: an id below 0");
  CHECK(FaultOf<TrapKernel>(int64_t{1}).empty());
  CHECK(SumsAreRight<true>(7));  // and what comes after a fault is none the worse
}

template <int kPending>
TF_KERNEL(kThreads)
CopyAsyncKernel(const float* from, float* to) {
  const int i = gpu::ThreadIndex();
  for (int group = 0; group < 2; ++group) {
    gpu::CopyAsync16(gpu::Shared<float>() + (group * kThreads + i) * 4, from + (group * kThreads + i) * 4, i != 5);
    gpu::CommitCopies();
  }
  gpu::WaitCopies<kPending>();
  gpu::SyncThreads();
  const int other = kThreads - 1 - i;
  for (int e = 0; e < 8; ++e) to[i * 8 + e] = gpu::Shared<float>()[(e / 4 * kThreads + other) * 4 + e % 4];
  gpu::SyncThreads();  // a thread's end is a wait, too
}

TEST_CASE("simulator: what was copied asynchronously is there behind its wait, and not before") {
  Gpu gpu;
  float* const from = gpu.New<float>(kThreads * 8);
  float* const to = gpu.New<float>(kThreads * 8);
  std::iota(from, from + kThreads * 8, 1.0f);
  const LaunchShape shape{.threads = kThreads, .shared_bytes = kThreads * 8 * 4};
  Launch<CopyAsyncKernel<0>>(gpu.lane(), "copies", shape, from, to);
  for (int i = 0; i < kThreads; ++i) {
    const int other = kThreads - 1 - i;
    for (int e = 0; e < 8; ++e) {
      CHECK(to[i * 8 + e] == (other == 5 ? 0 : from[(e / 4 * kThreads + other) * 4 + e % 4]));
    }
  }
  Launch<CopyAsyncKernel<1>>(gpu.lane(), "copies", shape, from, to);
  for (int i = 0; i < kThreads; ++i) {
    for (int e = 0; e < 8; ++e) CHECK(std::isnan(to[i * 8 + e]) == (e >= 4));
  }
}

// C = A * B for A [16, 16] and B [16, 8] in memory, the fragments put together by the manual's tables.
template <int kWrongRow, bool kByMatrixLoads>
TF_KERNEL(32)
MmaKernel(const F16* a, const F16* b, float* c) {
  const int g = gpu::LaneIndex() / 4, t = gpu::LaneIndex() % 4;
  const auto pair = [](F16 lo, F16 hi) { return lo.bits | static_cast<uint32_t>(hi.bits) << 16; };
  uint32_t fa[4], fb[4];
  if (kByMatrixLoads) {
    F16* const shared = gpu::Shared<F16>();
    for (int i = gpu::ThreadIndex(); i < 16 * 16; i += 32) shared[i] = a[i];
    for (int i = gpu::ThreadIndex(); i < 16 * 8; i += 32) shared[256 + i] = b[i];
    gpu::SyncWarp();
    const int matrix = gpu::LaneIndex() / 8, row = gpu::LaneIndex() % 8;
    gpu::LoadMatrix4(fa, shared + (row + matrix % 2 * 8) * 16 + matrix / 2 * 8);
    gpu::LoadMatrix4Transposed(fb, shared + 256 + (row + matrix % 2 * 8) * 8);
  } else {
    for (int i = 0; i < 4; ++i) {
      const int row = g + i % 2 * 8 + kWrongRow * (i == 1), k = 2 * t + i / 2 * 8;
      fa[i] = pair(a[row % 16 * 16 + k], a[row % 16 * 16 + k + 1]);
    }
    for (int i = 0; i < 2; ++i) fb[i] = pair(b[(2 * t + i * 8) * 8 + g], b[(2 * t + i * 8 + 1) * 8 + g]);
  }
  float sums[4] = {};
  gpu::Mma16816<F16>(sums, fa, {fb[0], fb[1]});
  for (int i = 0; i < 4; ++i) c[(g + i / 2 * 8) * 8 + 2 * t + i % 2] = sums[i];
}

template <int kWrongRow, bool kByMatrixLoads>
bool ProductIsRight() {
  Gpu gpu;
  F16* const a = gpu.New<F16>(16 * 16);
  F16* const b = gpu.New<F16>(16 * 8);
  float* const c = gpu.New<float>(16 * 8);
  // Small integers: every sum is exact.
  for (int i = 0; i < 16 * 16; ++i) a[i] = ToF16(static_cast<float>(i * 7 % 23 - 11));
  for (int i = 0; i < 16 * 8; ++i) b[i] = ToF16(static_cast<float>(i * 5 % 19 - 9));
  Launch<MmaKernel<kWrongRow, kByMatrixLoads>>(gpu.lane(), "mma", {.threads = 32, .shared_bytes = (256 + 128) * 2}, a,
                                               b, c);
  for (int row = 0; row < 16; ++row) {
    for (int column = 0; column < 8; ++column) {
      float sum = 0;
      for (int k = 0; k < 16; ++k) sum += ToF32(a[row * 16 + k]) * ToF32(b[k * 8 + column]);
      if (c[row * 8 + column] != sum) return false;
    }
  }
  return true;
}

TEST_CASE("simulator: mma and ldmatrix follow the manual's fragments; a wrong row shows") {
  CHECK(ProductIsRight<0, false>());
  CHECK(ProductIsRight<0, true>());
  CHECK_FALSE(ProductIsRight<1, false>());
}

TF_KERNEL(32) VotesKernel(int* out) {
  const int lane = gpu::LaneIndex();
  out[lane] = static_cast<int>(gpu::Ballot(lane % 3 == 0));
  out[32 + lane] = gpu::ShuffleUp(lane, 3);
  out[64 + lane] = gpu::ShuffleDown(lane, 3);
  out[96 + lane] = gpu::Any(lane == 31) + 2 * gpu::All(lane < 31);
  out[128 + lane] = static_cast<int>(gpu::Permute(0x33221100u, 0x77665544u, 0x7531u));
}

TEST_CASE("simulator: votes, shuffles and permutations") {
  Gpu gpu;
  int* const out = gpu.New<int>(160);
  Launch<VotesKernel>(gpu.lane(), "votes", {.threads = 32}, out);
  for (int i = 0; i < 32; ++i) {
    CHECK(out[i] == 0x49249249);
    CHECK(out[32 + i] == (i >= 3 ? i - 3 : i));
    CHECK(out[64 + i] == (i + 3 < 32 ? i + 3 : i));
    CHECK(out[96 + i] == 1);
    CHECK(out[128 + i] == 0x77553311);
  }
}

TF_KERNEL(32) AddKernel(const int32_t* addend, int32_t* sum, int32_t by_value) {
  if (gpu::ThreadIndex() == 0) *sum += *addend + by_value;
}

TEST_CASE("simulator: what is captured runs when it is replayed, in order, on what memory holds then") {
  Gpu gpu;
  int32_t* const addend = gpu.New<int32_t>(1);
  int32_t* const sum = gpu.New<int32_t>(1);
  int32_t* const copy = gpu.New<int32_t>(1);
  std::byte* scratch = nullptr;
  int32_t by_value = 1000;
  const auto queue = [&] {
    Launch<AddKernel>(gpu.lane(), "add", {.threads = 32}, addend, sum, by_value);
    gpu.lane().Copy(copy, sum, sizeof(int32_t), "copy");
    gpu.lane().Copy(copy, sum, 0, "nothing");
    Launch<AddKernel>(gpu.lane(), "add", {.threads = 32}, copy, sum, int32_t{0});
    scratch = gpu.lane().Scratch(100);
  };
  REQUIRE(gpu.lane().captures());
  const std::unique_ptr<Graph> graph = gpu.lane().Capture(queue);
  CHECK(graph->nodes() == 3);
  CHECK(*sum == 0);
  by_value = 5;  // it has been taken already
  std::byte* const of_graph = scratch;
  *addend = 1;
  gpu.lane().Replay(*graph);
  CHECK(*sum == 2 * 1001);
  *addend = 2;
  gpu.lane().Replay(*graph);
  CHECK(*sum == 2 * (2002 + 1002));
  queue();  // at once again
  CHECK(*sum == 2 * (6008 + 7));
  CHECK(scratch != of_graph);
  CHECK_THROWS_AS(gpu.lane().Capture([] { throw std::runtime_error("no"); }), std::runtime_error);
  CHECK(gpu.lane().Capture([] {})->nodes() == 0);
}

}  // namespace
}  // namespace triforce
