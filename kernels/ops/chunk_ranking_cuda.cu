// ChunkRanking on CUDA: a block a kv_head sorts its chunks by the digits of their keys, the lowest first (a radix
// sort); among chunks of one digit each pass keeps the order of the pass before.
#include <algorithm>
#include <bit>
#include <cstdint>

#include "kernels/core/gpu_launch.h"
#include "kernels/ops/chunk_order.h"
#include "kernels/ops/chunk_ranking.h"

namespace triforce {
namespace {

constexpr int kDigitBits = 8;
constexpr int kBins = 1 << kDigitBits;

struct Params {
  const float* scores;  // [kv_heads, scores_stride]
  int64_t scores_stride;
  int32_t* order;  // [kv_heads, width]
  int32_t* other;  // [kv_heads, chunks]
  int chunks;
  int width;
};

// Shared memory: what SumBefore needs; then for each warp [kBins]: of the chunks of its run by digit, their number,
// then where the next one goes.
constexpr int64_t kPlacesAt = gpu::kWarpThreads * sizeof(int);
TF_DEVICE int* PlacesOfWarp(int warp) { return gpu::Shared<int>(kPlacesAt) + warp * kBins; }
constexpr int64_t SharedBytes(int threads) {
  return kPlacesAt + threads / gpu::kWarpThreads * static_cast<int64_t>(kBins * sizeof(int));
}

// One pass: from[i], or i where there is no `from`, in the order of the digits of their chunks -> to.
struct Pass {
  const float* scores;
  int chunks;
  int shift;  // of the digit
  const int32_t* from;
  int32_t* to;

  TF_DEVICE int ChunkAt(int i) const { return from == nullptr ? i : from[i]; }
  TF_DEVICE uint32_t DigitOf(int chunk) const { return ~KeyOfScore(scores[chunk]) >> shift & (kBins - 1); }
};

// Numbers of chunks -> where the first one goes: behind all of lower digits and those of the digit in earlier runs.
TF_DEVICE void NumbersToPlaces() {
  const int warps = gpu::BlockThreads() / gpu::kWarpThreads;
  const int each = kBins / gpu::BlockThreads() > 1 ? kBins / gpu::BlockThreads() : 1;
  const int first = gpu::ThreadIndex() * each, end = first < kBins ? first + each : first;
  int mine = 0;
  for (int digit = first; digit < end; ++digit) {
    for (int warp = 0; warp < warps; ++warp) mine += PlacesOfWarp(warp)[digit];
  }
  int place = SumBefore(mine, gpu::Shared<int>());
  for (int digit = first; digit < end; ++digit) {
    for (int warp = 0; warp < warps; ++warp) {
      const int number = PlacesOfWarp(warp)[digit];
      PlacesOfWarp(warp)[digit] = place;
      place += number;
    }
  }
}

TF_DEVICE void Sort(const Pass& pass) {
  int* const places = PlacesOfWarp(gpu::WarpIndex());
  for (int digit = gpu::LaneIndex(); digit < kBins; digit += gpu::kWarpThreads) places[digit] = 0;
  gpu::SyncWarp();
  const ChunkRun run = RunOfWarp(pass.chunks);
  for (int i = run.first + gpu::LaneIndex(); i < run.end; i += gpu::kWarpThreads) {
    gpu::AtomicAdd(&places[pass.DigitOf(pass.ChunkAt(i))], 1);
  }
  gpu::SyncThreads();
  NumbersToPlaces();
  gpu::SyncThreads();
  for (int first = run.first; first < run.end; first += gpu::kWarpThreads) {
    const int i = first + gpu::LaneIndex();
    const bool there = i < run.end;
    const int chunk = there ? pass.ChunkAt(i) : 0;
    const uint32_t digit = there ? pass.DigitOf(chunk) : 0;
    uint32_t alike = gpu::Ballot(there);  // lanes whose digit is this one's
    TF_UNROLL
    for (int bit = 0; bit < kDigitBits; ++bit) {
      const bool set = (digit >> bit & 1) != 0;
      const uint32_t all_set = gpu::Ballot(set);
      alike &= set ? all_set : ~all_set;
    }
    const int before = std::popcount(LanesBefore(alike)), place = places[digit];
    gpu::SyncWarp();  // all have read it
    if (there) {
      pass.to[place + before] = chunk;
      if (before == 0) places[digit] = place + std::popcount(alike);
    }
    gpu::SyncWarp();
  }
  gpu::SyncThreads();
}

TF_KERNEL(kMaxRowThreads) ChunkRankingKernel(Params p) {
  const float* const scores = p.scores + gpu::BlockX() * p.scores_stride;
  int32_t* const order = p.order + gpu::BlockX() * p.width;
  int32_t* const other = p.other + gpu::BlockX() * p.chunks;
  Sort({scores, p.chunks, 0, nullptr, other});
  Sort({scores, p.chunks, kDigitBits, other, order});
  Sort({scores, p.chunks, 2 * kDigitBits, order, other});
  Sort({scores, p.chunks, 3 * kDigitBits, other, order});
  for (int i = p.chunks + gpu::ThreadIndex(); i < p.width; i += gpu::BlockThreads()) order[i] = i;
}

}  // namespace

void ChunkRankingCuda(CudaLane& lane, const ChunkRankingArgs& args) {
  const int64_t kv_heads = args.order.dim(0), bytes = std::max<int64_t>(1, args.chunks) * sizeof(int32_t);
  const int threads = RowThreads(args.chunks);
  // As many kv_heads at a time as their second orders have room for.
  const int64_t most = std::clamp<int64_t>(CudaLane::kScratchBytes / bytes, 1, kv_heads);
  Params params{
      .scores = args.scores.as<float>(),
      .scores_stride = args.scores.stride(0),
      .order = args.order.as<int32_t>(),
      .other = reinterpret_cast<int32_t*>(lane.Scratch(most * bytes)),
      .chunks = static_cast<int>(args.chunks),
      .width = static_cast<int>(args.order.dim(1)),
  };
  for (int64_t first = 0; first < kv_heads; first += most) {
    const int64_t heads = std::min(most, kv_heads - first);
    Launch<ChunkRankingKernel>(lane, "chunk_ranking",
                               {.x = heads, .threads = threads, .shared_bytes = SharedBytes(threads)}, params);
    params.scores += heads * params.scores_stride;
    params.order += heads * params.width;
  }
}

}  // namespace triforce
