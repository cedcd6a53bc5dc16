// ChunkScores on CUDA: a few lanes of a warp a chunk, eight elements each, so that a warp's loads are one run of
// memory.
#include <algorithm>
#include <cstdint>
#include <limits>

#include "kernels/core/gpu_launch.h"
#include "kernels/ops/chunk_scores.h"
#include "kernels/ops/eight_floats.h"

namespace triforce {
namespace {

constexpr int kThreads = 256;
constexpr int kChunksPerLane = 4;  // in flight: 2 KiB a warp where means have 16 bits
constexpr int kHeadTile = 4;       // query heads that share a load

struct Params {
  const float* q;        // [kv_heads, group, head_dim]
  float* scores;         // [kv_heads, scores_stride]
  int64_t means_stride;  // elements of a kv_head
  int64_t scores_stride;
  int64_t chunks;
  int group;
  int head_dim;
  int lanes;  // that share a chunk; a power of two, at least kChunksPerLane
};

// kAligned: rows begin at multiples of 16 bytes, and eight elements are there.
template <bool kAligned, typename T>
TF_DEVICE Eight<T> LoadPart(const T* from, int count) {
  if constexpr (kAligned) {
    return LoadEight(from);
  } else {
    return LoadSome(from, count);
  }
}

// Elements [8 v, 8 v + 8) of this lane's chunks times those of the queries, added to `sums`.
template <bool kAligned, typename T>
TF_DEVICE void AddProducts(const Params& p, const float* q, int queries, const T* means,
                           const int (&places)[kChunksPerLane], int v, float (&sums)[kHeadTile][kChunksPerLane]) {
  const int count = p.head_dim - 8 * v;  // elements from here on
  Eight<T> raw[kChunksPerLane];
  TF_UNROLL
  for (int u = 0; u < kChunksPerLane; ++u) {
    raw[u] = LoadPart<kAligned>(means + places[u] + 8 * v, count);
  }
  TF_UNROLL
  for (int j = 0; j < kHeadTile; ++j) {
    if (j >= queries) continue;
    const float* const from = q + j * p.head_dim + 8 * v;
    float query[8], mean[8];
    Widen(LoadPart<kAligned>(from, count), query);
    TF_UNROLL
    for (int u = 0; u < kChunksPerLane; ++u) {
      Widen(raw[u], mean);
      TF_UNROLL
      for (int i = 0; i < 8; ++i) sums[j][u] = gpu::Fma(query[i], mean[i], sums[j][u]);
    }
  }
}

template <typename T, bool kAligned>
TF_KERNEL_OCCUPANCY(kThreads, sizeof(T) == 4 ? 2 : 3)
ChunkScoresKernel(Params p, const T* all_means) {
  const int rows = gpu::kWarpThreads / p.lanes, part = gpu::LaneIndex() % p.lanes, row = gpu::LaneIndex() / p.lanes;
  const int64_t warp = gpu::BlockX() * (kThreads / gpu::kWarpThreads) + gpu::WarpIndex();
  const int64_t first = warp * (rows * kChunksPerLane);
  if (first >= p.chunks) return;
  const T* const means = all_means + gpu::BlockY() * p.means_stride + first * p.head_dim;
  int places[kChunksPerLane];  // behind `means`
  TF_UNROLL
  for (int u = 0; u < kChunksPerLane; ++u) {
    const int64_t chunk = u * rows + row, last = p.chunks - 1 - first;  // in place of those beyond it, the last
    places[u] = static_cast<int>(chunk < last ? chunk : last) * p.head_dim;
  }
  float best[kChunksPerLane];
  TF_UNROLL
  for (float& score : best) score = -std::numeric_limits<float>::infinity();
  for (int head = 0; head < p.group; head += kHeadTile) {
    const int queries = p.group - head < kHeadTile ? p.group - head : kHeadTile;
    const float* const q = p.q + (gpu::BlockY() * p.group + head) * p.head_dim;
    float sums[kHeadTile][kChunksPerLane] = {};
    for (int v = part; 8 * v < p.head_dim; v += p.lanes) AddProducts<kAligned>(p, q, queries, means, places, v, sums);
    TF_UNROLL
    for (int j = 0; j < kHeadTile; ++j) {
      if (j >= queries) continue;
      for (int mask = p.lanes / 2; mask > 0; mask /= 2) {
        TF_UNROLL
        for (int u = 0; u < kChunksPerLane; ++u) sums[j][u] += gpu::ShuffleXor(sums[j][u], mask);
      }
      TF_UNROLL
      for (int u = 0; u < kChunksPerLane; ++u) best[u] = gpu::Max(best[u], sums[j][u]);
    }
  }
  // Each of a chunk's lanes has all its scores: lane u of them writes number u.
  float score = best[0];
  TF_UNROLL
  for (int u = 1; u < kChunksPerLane; ++u) score = part == u ? best[u] : score;
  const int64_t chunk = first + part * rows + row;
  if (part < kChunksPerLane && chunk < p.chunks) p.scores[gpu::BlockY() * p.scores_stride + chunk] = score;
}

bool Aligned(const TensorView& t) { return reinterpret_cast<uintptr_t>(t.data()) % 16 == 0; }

}  // namespace

void ChunkScoresCuda(CudaLane& lane, const ChunkScoresArgs& args) {
  const int64_t kv_heads = args.means.dim(0), head_dim = args.q.dim(1);
  const int lanes = head_dim <= 64 ? 8 : head_dim <= 128 ? 16 : 32;
  const int64_t chunks_per_block = kThreads / lanes * kChunksPerLane;
  const Params params{
      .q = args.q.as<float>(),
      .scores = args.scores.as<float>(),
      .means_stride = args.means.stride(0),
      .scores_stride = args.scores.stride(0),
      .chunks = args.chunks,
      .group = static_cast<int>(args.q.dim(0) / kv_heads),
      .head_dim = static_cast<int>(head_dim),
      .lanes = lanes,
  };
  const LaunchShape shape{
      .x = (args.chunks + chunks_per_block - 1) / chunks_per_block, .y = kv_heads, .threads = kThreads};
  const bool aligned = head_dim % 8 == 0 && Aligned(args.q) && Aligned(args.means);
  WithFloatType(args.means.dtype(), [&]<typename T>(T) {
    if (aligned) {
      Launch<ChunkScoresKernel<T, true>>(lane, "chunk_scores", shape, params, args.means.as<T>());
    } else {
      Launch<ChunkScoresKernel<T, false>>(lane, "chunk_scores", shape, params, args.means.as<T>());
    }
  });
}

}  // namespace triforce
