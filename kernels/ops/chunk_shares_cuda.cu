// ChunkShares on CUDA, in three kernels: the logits of some queries; the softmax's maximum and sum over each one's
// chunks; their shares, summed over queries.
//
// A query is a row and one of the query heads of a kv_head. The logits are products of matrices in f32: a warp has 64
// chunks, a lane two of them, times kQueries queries, with a stage of head_dim in shared memory while the next one
// comes. Each logit is one sum in the order of head_dim.
#include <algorithm>
#include <cstdint>
#include <limits>

#include "kernels/core/gpu_launch.h"
#include "kernels/ops/chunk_shares.h"
#include "kernels/ops/eight_floats.h"
#include "kernels/ops/row_block.h"

namespace triforce {
namespace {

constexpr int kQueries = 16;   // of a block
constexpr int kThreads = 128;  // of a block
constexpr int kChunksPerLane = 2;
constexpr int kChunks = kThreads * kChunksPerLane;  // of a block
constexpr int kStage = 32;                          // elements of head_dim
constexpr int kEights = kStage / 8;

struct Params {
  const float* q;  // [rows, q_stride]
  int64_t q_stride;
  int64_t means_stride;  // of a kv_head
  int64_t chunks;
  int64_t first_query;  // of each kv_head's
  int queries;          // of them, in this launch
  int group;
  int head_dim;
  int first_head;  // kv_head
  float scale;
  bool aligned;   // rows of means, to 16 bytes
  float* logits;  // [kv_heads of the launch, queries, chunks]
};

// Rows of means in shared memory, padded so that eight rows' 16 bytes lie in different banks.
template <typename T>
constexpr int RowElements() {
  return kStage + 16 / static_cast<int>(sizeof(T));
}
constexpr int StagesOf(int64_t head_dim) { return static_cast<int>((head_dim + kStage - 1) / kStage); }
// Two stages of means, then the queries [kQueries, stages * kStage].
template <typename T>
constexpr int64_t MeansBytes() {
  return 2 * kChunks * RowElements<T>() * static_cast<int64_t>(sizeof(T));
}
template <typename T>
constexpr int64_t SharedBytes(int64_t head_dim) {
  return MeansBytes<T>() + kQueries * StagesOf(head_dim) * kStage * static_cast<int64_t>(sizeof(float));
}

// The queries of this block, scaled; zeros behind them and behind head_dim.
template <typename T>
TF_DEVICE void LoadQueries(const Params& p, int64_t kv_head, int first) {
  float* const to = gpu::Shared<float>(MeansBytes<T>());
  const int width = StagesOf(p.head_dim) * kStage;
  for (int i = gpu::ThreadIndex(); i < kQueries * width; i += kThreads) {
    const int query = first + i / width, element = i % width;
    float value = 0;
    if (query < p.queries && element < p.head_dim) {
      const int64_t row = (p.first_query + query) / p.group,
                    head = kv_head * p.group + (p.first_query + query) % p.group;
      value = p.q[row * p.q_stride + head * p.head_dim + element] * p.scale;
    }
    to[i] = value;
  }
}

// Begins to bring stage `stage` of the means of chunks [first, first + kChunks); zeros where there are none.
template <typename T>
TF_DEVICE void BringMeans(const Params& p, const T* means, int64_t first, int stage) {
  T* const to = gpu::Shared<T>() + stage % 2 * (kChunks * RowElements<T>());
  constexpr int kEach = 16 / sizeof(T), kPieces = kStage / kEach;  // of a row
  for (int i = gpu::ThreadIndex(); i < kChunks * kPieces; i += kThreads) {
    const int chunk = i / kPieces, at = i % kPieces * kEach, element = stage * kStage + at;
    const bool there = first + chunk < p.chunks && element < p.head_dim;
    const T* const from = there ? means + (first + chunk) * p.head_dim + element : means;
    T* const piece = to + chunk * RowElements<T>() + at;
    if (p.aligned) {
      gpu::CopyAsync16(piece, from, there);
    } else {
      TF_UNROLL
      for (int e = 0; e < kEach; ++e) piece[e] = there && element + e < p.head_dim ? from[e] : T{};
    }
  }
}

// sums[j][u] += query j times chunk u of this lane, over a stage.
template <typename T>
TF_DEVICE void AddStage(const T* means, const float* queries, int width, float (&sums)[kQueries][kChunksPerLane]) {
  for (int e = 0; e < kEights; ++e) {
    float mean[kChunksPerLane][8];
    TF_UNROLL
    for (int u = 0; u < kChunksPerLane; ++u) {
      Widen(SharedEight(means + u * gpu::kWarpThreads * RowElements<T>() + 8 * e), mean[u]);
    }
    TF_UNROLL
    for (int j = 0; j < kQueries; ++j) {
      float query[8];
      Widen(SharedEight(queries + j * width + 8 * e), query);
      TF_UNROLL
      for (int u = 0; u < kChunksPerLane; ++u) {
        TF_UNROLL
        for (int i = 0; i < 8; ++i) sums[j][u] = gpu::Fma(query[i], mean[u][i], sums[j][u]);
      }
    }
  }
}

template <typename T>
TF_KERNEL_OCCUPANCY(kThreads, 4)
LogitsKernel(Params p, const T* all_means) {
  // Blocks of the same chunks follow one another: their means are in a cache.
  const int query_tiles = (p.queries + kQueries - 1) / kQueries;
  const int first_query = static_cast<int>(gpu::BlockX() % query_tiles) * kQueries;
  const int64_t first = gpu::BlockX() / query_tiles * kChunks, kv_head = p.first_head + gpu::BlockY();
  const T* const means = all_means + kv_head * p.means_stride;
  const int stages = StagesOf(p.head_dim), width = stages * kStage;
  BringMeans(p, means, first, 0);
  gpu::CommitCopies();
  LoadQueries<T>(p, kv_head, first_query);
  const int of_lane = gpu::WarpIndex() * (gpu::kWarpThreads * kChunksPerLane) + gpu::LaneIndex();
  float sums[kQueries][kChunksPerLane] = {};
  for (int stage = 0; stage < stages; ++stage) {
    if (stage + 1 < stages) BringMeans(p, means, first, stage + 1);
    gpu::CommitCopies();
    gpu::WaitCopies<1>();
    gpu::SyncThreads();
    AddStage(gpu::Shared<T>() + stage % 2 * (kChunks * RowElements<T>()) + of_lane * RowElements<T>(),
             gpu::Shared<float>(MeansBytes<T>()) + stage * kStage, width, sums);
    gpu::SyncThreads();
  }
  float* const logits = p.logits + (gpu::BlockY() * p.queries + first_query) * p.chunks;
  TF_UNROLL
  for (int j = 0; j < kQueries; ++j) {
    TF_UNROLL
    for (int u = 0; u < kChunksPerLane; ++u) {
      const int64_t chunk = first + of_lane + u * gpu::kWarpThreads;
      if (first_query + j < p.queries && chunk < p.chunks) logits[j * p.chunks + chunk] = sums[j][u];
    }
  }
}

// Of a query's softmax.
struct Softmax {
  float most;    // logit
  float factor;  // one over the sum of exponentials
};

// A block a query.
TF_KERNEL(kMaxRowThreads) SoftmaxKernel(const float* all_logits, int64_t chunks, Softmax* softmaxes) {
  float* const warps = gpu::Shared<float>();
  const float* const logits = all_logits + gpu::BlockX() * chunks;
  float most = -std::numeric_limits<float>::infinity(), sum = 0;
  ForRow(logits, chunks, [&](int64_t, float logit) { most = gpu::Max(most, logit); });
  most = FoldBlock(most, warps, [](float a, float b) { return gpu::Max(a, b); });
  ForRow(logits, chunks, [&](int64_t, float logit) { sum += gpu::Exp(logit - most); });
  sum = SumBlock(sum, warps);
  if (gpu::ThreadIndex() == 0) softmaxes[gpu::BlockX()] = {most, 1 / sum};
}

constexpr int kShareThreads = 256;

// A thread a chunk: shares (+)= what the queries give it.
TF_KERNEL(kShareThreads)
SharesKernel(const float* all_logits, const Softmax* all_softmaxes, int64_t chunks, int queries, float* shares,
             int64_t shares_stride, bool add) {
  const int64_t chunk = gpu::BlockX() * kShareThreads + gpu::ThreadIndex();
  if (chunk >= chunks) return;
  const float* const logits = all_logits + gpu::BlockY() * queries * chunks + chunk;
  const Softmax* const softmaxes = all_softmaxes + gpu::BlockY() * queries;
  float* const share = shares + gpu::BlockY() * shares_stride + chunk;
  float sum = add ? *share : 0;
  for (int query = 0; query < queries; ++query) {
    sum = gpu::Fma(gpu::Exp(logits[query * chunks] - softmaxes[query].most), softmaxes[query].factor, sum);
  }
  *share = sum;
}

int64_t RoundUp(int64_t n, int64_t multiple) { return (n + multiple - 1) / multiple * multiple; }

// So many kv_heads' queries have their logits in scratch memory at a time.
struct Batch {
  int64_t kv_heads;
  int64_t queries;  // of each
};
Batch BatchOf(int64_t kv_heads, int64_t queries, int64_t chunks) {
  const int64_t logits = (CudaLane::kScratchBytes - 256) /
                         (chunks * static_cast<int64_t>(sizeof(float)) + static_cast<int64_t>(sizeof(Softmax)));
  const int64_t heads = std::clamp<int64_t>(logits, 1, kv_heads), most = std::max<int64_t>(1, logits / heads);
  return {heads, std::min(queries, most < kQueries ? most : most / kQueries * kQueries)};
}

void QueueBatch(CudaLane& lane, const ChunkSharesArgs& args, const Params& params, int64_t kv_heads) {
  const int64_t chunks = params.chunks, softmax_bytes = RoundUp(kv_heads * params.queries * sizeof(Softmax), 256);
  std::byte* const scratch =
      lane.Scratch(softmax_bytes + kv_heads * params.queries * chunks * static_cast<int64_t>(sizeof(float)));
  auto* const softmaxes = reinterpret_cast<Softmax*>(scratch);
  Params with_logits = params;
  with_logits.logits = reinterpret_cast<float*>(scratch + softmax_bytes);
  const int64_t query_tiles = (params.queries + kQueries - 1) / kQueries;
  WithFloatType(args.means.dtype(), [&]<typename T>(T) {
    Launch<LogitsKernel<T>>(lane, "chunk_shares: logits",
                            {.x = (chunks + kChunks - 1) / kChunks * query_tiles,
                             .y = kv_heads,
                             .threads = kThreads,
                             .shared_bytes = SharedBytes<T>(params.head_dim)},
                            with_logits, args.means.as<T>());
  });
  Launch<SoftmaxKernel>(lane, "chunk_shares: softmax",
                        {.x = kv_heads * params.queries,
                         .threads = RowThreads(chunks, 16),
                         .shared_bytes = gpu::kWarpThreads * static_cast<int64_t>(sizeof(float))},
                        with_logits.logits, chunks, softmaxes);
  Launch<SharesKernel>(lane, "chunk_shares",
                       {.x = (chunks + kShareThreads - 1) / kShareThreads, .y = kv_heads, .threads = kShareThreads},
                       with_logits.logits, softmaxes, chunks, params.queries,
                       args.shares.as<float>() + params.first_head * args.shares.stride(0), args.shares.stride(0),
                       params.first_query > 0);
}

}  // namespace

void ChunkSharesCuda(CudaLane& lane, const ChunkSharesArgs& args) {
  const int64_t kv_heads = args.means.dim(0), group = args.q.dim(1) / kv_heads, head_dim = args.q.dim(2),
                queries = args.q.dim(0) * group;
  if (args.chunks == 0) return;
  const Batch batch = BatchOf(kv_heads, queries, args.chunks);
  const int64_t row_bytes = head_dim * SizeOf(args.means.dtype());
  for (int64_t head = 0; head < kv_heads; head += batch.kv_heads) {
    int64_t query = 0;
    do {  // once too where there is none: shares are zeros then
      QueueBatch(lane, args,
                 {.q = args.q.as<float>(),
                  .q_stride = args.q.stride(0),
                  .means_stride = args.means.stride(0),
                  .chunks = args.chunks,
                  .first_query = query,
                  .queries = static_cast<int>(std::min(batch.queries, queries - query)),
                  .group = static_cast<int>(group),
                  .head_dim = static_cast<int>(head_dim),
                  .first_head = static_cast<int>(head),
                  .scale = args.scale,
                  .aligned = row_bytes % 16 == 0 && reinterpret_cast<uintptr_t>(args.means.data()) % 16 == 0,
                  .logits = nullptr},
                 std::min(batch.kv_heads, kv_heads - head));
      query += batch.queries;
    } while (query < queries);
  }
}

}  // namespace triforce
