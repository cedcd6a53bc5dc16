// A block of threads that works on one kv_head's chunks, where the order of chunks counts. For .cu files only.
#pragma once

#include <cstdint>

#include "kernels/core/gpu.h"
#include "kernels/ops/row_block.h"

namespace triforce {

// The higher the score, the larger the key. NaN is below all others, and above 0, which is no score's key; neither is
// 2^32 - 1.
TF_DEVICE uint32_t KeyOfScore(float score) { return score != score ? 1 : OrderedBits(score); }

// The chunks of this warp: a run of whole warps' widths, that of warp 0 first; [first, end).
struct ChunkRun {
  int first;
  int end;
};
TF_DEVICE ChunkRun RunOfWarp(int chunks) {
  const int warps = gpu::BlockThreads() / gpu::kWarpThreads;
  const int64_t each =
      (int64_t{chunks} + warps * gpu::kWarpThreads - 1) / (warps * gpu::kWarpThreads) * gpu::kWarpThreads;
  const auto cut = [chunks](int64_t chunk) { return static_cast<int>(chunk < chunks ? chunk : chunks); };
  return {cut(each * gpu::WarpIndex()), cut(each * (gpu::WarpIndex() + 1))};
}

// Those lanes of `lanes` that come before this one.
TF_DEVICE uint32_t LanesBefore(uint32_t lanes) { return lanes & ((uint32_t{1} << gpu::LaneIndex()) - 1); }

// The sum of `mine` over the block's threads before this one. All threads come here. `warps` is shared memory for 32
// values, which may be used again at once.
TF_DEVICE int SumBefore(int mine, int* warps) {
  int up_to = mine;  // of this warp's threads up to this one
  TF_UNROLL
  for (int lanes = 1; lanes < gpu::kWarpThreads; lanes *= 2) {
    const int other = gpu::ShuffleUp(up_to, lanes);
    if (gpu::LaneIndex() >= lanes) up_to += other;
  }
  if (gpu::LaneIndex() == gpu::kWarpThreads - 1) warps[gpu::WarpIndex()] = up_to;
  gpu::SyncThreads();
  int sum = up_to - mine;
  for (int warp = 0; warp < gpu::WarpIndex(); ++warp) sum += warps[warp];
  gpu::SyncThreads();
  return sum;
}

}  // namespace triforce
