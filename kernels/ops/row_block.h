// A block of threads that works on one row of floats. For .cu files.
//
// Each thread has the elements ThreadIndex(), + BlockThreads(), and on; what it finds is folded over the block in one
// fixed order. So a row's bits depend on its length and the block's size alone, which ops choose by the length.
#pragma once

#include <bit>
#include <cstdint>
#include <limits>

#include "kernels/core/gpu.h"

namespace triforce {

inline constexpr int kMaxRowThreads = 1024;

// Threads of a block for rows of `count` elements: a power of two, with some `each` elements for each thread.
constexpr int RowThreads(int64_t count, int64_t each = 8) {
  int threads = gpu::kWarpThreads;
  while (threads < kMaxRowThreads && threads * each < count) threads *= 2;
  return threads;
}

// Calls f(i, values[i]) for this thread's elements, in order. Several loads are under way at a time: of `values`, f may
// write element i alone. Places are ints: addresses of 64 bits took twice the registers. REQUIRES: count < 2^30.
template <typename F>
TF_DEVICE void ForRow(const float* values, int64_t count, const F& f) {
  constexpr int kLoads = 4;  // 16 KiB of 1024 threads: what the second cache takes to answer, times what it gives an SM
  const int step = gpu::BlockThreads(), end = static_cast<int>(count);
  for (int first = gpu::ThreadIndex(); first < end; first += kLoads * step) {
    float loaded[kLoads];
    TF_UNROLL for (int k = 0; k < kLoads; ++k) loaded[k] = first + k * step < end ? values[first + k * step] : 0.0f;
    TF_UNROLL for (int k = 0; k < kLoads; ++k) {
      if (first + k * step < end) f(first + k * step, loaded[k]);
    }
  }
}

// f(f(f(a, b), c), ...) over the block's values, f commutative: by a tree within warps, then warp by warp. All threads
// come here and get the same bits. `warps` is shared memory for 32 values, which may be used again at once.
template <typename T, typename F>
TF_DEVICE T FoldBlock(T mine, T* warps, const F& f) {
  TF_UNROLL for (int mask = gpu::kWarpThreads / 2; mask > 0; mask /= 2) mine = f(mine, gpu::ShuffleXor(mine, mask));
  if (gpu::LaneIndex() == 0) warps[gpu::WarpIndex()] = mine;
  gpu::SyncThreads();
  T all = warps[0];
  for (int warp = 1; warp < gpu::BlockThreads() / gpu::kWarpThreads; ++warp) all = f(all, warps[warp]);
  gpu::SyncThreads();
  return all;
}
template <typename T>
TF_DEVICE T SumBlock(T mine, T* warps) {
  return FoldBlock(mine, warps, [](T a, T b) { return a + b; });
}

// Integers in the order of the floats; 0 and -0 are equal. Of NaN: below or above all, by its sign.
TF_DEVICE uint32_t OrderedBits(float value) {
  const auto bits = std::bit_cast<uint32_t>(value == 0 ? 0.0f : value);
  return (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
}

// The lowest place of the row's largest value, NaN passed over; 0 where nothing is above -infinity. `warps` as above.
TF_DEVICE int64_t PlaceOfLargest(const float* values, int64_t count, uint64_t* warps) {
  uint64_t best = 0;  // the value's ordered bits above, the place counted from the end below
  ForRow(values, count, [&](int i, float value) {
    if (!(value > -std::numeric_limits<float>::infinity())) return;
    const uint64_t mine = static_cast<uint64_t>(OrderedBits(value)) << 32 | static_cast<uint32_t>(~i);
    best = mine > best ? mine : best;
  });
  best = FoldBlock(best, warps, [](uint64_t a, uint64_t b) { return a > b ? a : b; });
  return best == 0 ? 0 : static_cast<uint32_t>(~best);
}

}  // namespace triforce
