// AttentionPartial on CUDA for what the tensor cores' kernel (attention_partial_cuda.cu) does not take: f32 KV and
// heads of other sizes. Everything is f32. A block of threads takes one entry and up to kVectors query vectors: a
// thread a key for the scores, a lane an element for the outputs, of which each warp sums over its share of the keys. A
// query vector's bits depend on no other, as there.
#include <limits>

#include "kernels/core/gpu_launch.h"
#include "kernels/ops/attention_partial.h"

namespace triforce {
namespace {

constexpr int kThreads = 128;
constexpr int kWarps = kThreads / gpu::kWarpThreads;
constexpr int kVectors = 4;
constexpr int kWarpKeys = kKvBlock / kWarps;
constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

// Shared memory, in bytes.
constexpr int kTable = 0;                                   // int64_t [kBlockTiles]
constexpr int kWeights = kTable + 8 * kBlockTiles;          // f32 [kKvBlock, kVectors]: scores, then weights
constexpr int kFolds = kWeights + 4 * kKvBlock * kVectors;  // f32 [kWarps, kVectors]
constexpr int kQueries = kFolds + 4 * kWarps * kVectors;    // f32 [head_dim, kVectors]
constexpr int OutAt(int64_t head_dim) { return kQueries + static_cast<int>(4 * head_dim * kVectors); }
constexpr int Bytes(int64_t head_dim) { return OutAt(head_dim) + static_cast<int>(4 * head_dim * kVectors * kWarps); }

// f over all threads' values, by vector, for all of them: within warps, then warp by warp.
template <typename F>
TF_DEVICE void Fold(float (&values)[kVectors], const F& f) {
  float* const folds = gpu::Shared<float>(kFolds);
  TF_UNROLL
  for (int v = 0; v < kVectors; ++v) {
    TF_UNROLL
    for (int mask = gpu::kWarpThreads / 2; mask > 0; mask /= 2) {
      values[v] = f(values[v], gpu::ShuffleXor(values[v], mask));
    }
    if (gpu::LaneIndex() == 0) folds[gpu::WarpIndex() * kVectors + v] = values[v];
  }
  gpu::SyncThreads();
  TF_UNROLL
  for (int v = 0; v < kVectors; ++v) {
    values[v] = folds[v];
    for (int warp = 1; warp < kWarps; ++warp) values[v] = f(values[v], folds[warp * kVectors + v]);
  }
  gpu::SyncThreads();
}

// Scores of the entry's keys -> shared memory, as powers of 2; the largest of each vector.
template <typename T>
TF_DEVICE void Scores(const PartialWork& work, const int (&seen)[kVectors], int keys, float (&max)[kVectors]) {
  const float* const q = gpu::Shared<float>(kQueries);
  for (int key = gpu::ThreadIndex(); key < kKvBlock; key += kThreads) {
    float scores[kVectors] = {};
    if (key < keys) {
      const T* const tile = reinterpret_cast<const T*>(gpu::Shared<int64_t>(kTable)[key / kKeyTile]);
      for (int64_t i = 0; i < work.head_dim; ++i) {
        const float k = gpu::ToFloat(tile[KeyElement(key, i)]);
        TF_UNROLL
        for (int v = 0; v < kVectors; ++v) scores[v] = gpu::Fma(q[i * kVectors + v], k, scores[v]);
      }
    }
    TF_UNROLL
    for (int v = 0; v < kVectors; ++v) {
      const float score = key < seen[v] ? scores[v] * work.scale : kMinusInfinity;
      gpu::Shared<float>(kWeights)[key * kVectors + v] = score;
      max[v] = gpu::Max(max[v], score);
    }
  }
}

// Scores -> weights, in place: each thread's own. Adds them to `sum`.
TF_DEVICE void Weigh(const float (&max)[kVectors], float (&sum)[kVectors]) {
  for (int key = gpu::ThreadIndex(); key < kKvBlock; key += kThreads) {
    TF_UNROLL
    for (int v = 0; v < kVectors; ++v) {
      float& weight = gpu::Shared<float>(kWeights)[key * kVectors + v];
      weight = gpu::Exp2(weight - (max[v] == kMinusInfinity ? 0 : max[v]));
      sum[v] += weight;
    }
  }
}

// Each warp's sums of weighted values, of the first `keys` keys -> shared memory, [warp, vector, head_dim].
template <typename T>
TF_DEVICE void Outputs(const PartialWork& work, int keys) {
  float* const out = gpu::Shared<float>(OutAt(work.head_dim)) + gpu::WarpIndex() * kVectors * work.head_dim;
  const int begin = gpu::WarpIndex() * kWarpKeys, end = keys < begin + kWarpKeys ? keys : begin + kWarpKeys;
  for (int64_t i = gpu::LaneIndex(); i < work.head_dim; i += gpu::kWarpThreads) {
    float sums[kVectors] = {};
    for (int key = begin; key < end; key += kKeyTile) {
      const T* const values =
          reinterpret_cast<const T*>(gpu::Shared<int64_t>(kTable)[key / kKeyTile]) + kKvBlock * work.head_dim + i;
      float value[kKeyTile];
      TF_UNROLL
      for (int k = 0; k < kKeyTile; ++k) value[k] = key + k < end ? gpu::ToFloat(values[k * work.head_dim]) : 0;
      TF_UNROLL
      for (int k = 0; k < kKeyTile; ++k) {
        TF_UNROLL
        for (int v = 0; v < kVectors; ++v) {
          sums[v] = gpu::Fma(gpu::Shared<float>(kWeights)[(key + k) * kVectors + v], value[k], sums[v]);
        }
      }
    }
    TF_UNROLL
    for (int v = 0; v < kVectors; ++v) out[v * work.head_dim + i] = sums[v];
  }
}

template <typename T>
TF_KERNEL(kThreads)
PlainKernel(PartialWork work) {
  const int blocks = (work.vectors + kVectors - 1) / kVectors;  // of an entry
  const int block = static_cast<int>(gpu::BlockX());
  const PartialEntry entry(work, block / blocks);
  const int first = block % blocks * kVectors;
  const int count = work.vectors - first < kVectors ? work.vectors - first : kVectors;
  const int keys = entry.Seen(first + count - 1);
  int seen[kVectors];
  TF_UNROLL
  for (int v = 0; v < kVectors; ++v) seen[v] = entry.Seen(first + v);

  entry.ListTiles(keys, gpu::Shared<int64_t>(kTable));
  for (int64_t i = gpu::ThreadIndex(); i < work.head_dim * kVectors; i += kThreads) {
    const int v = static_cast<int>(i % kVectors);
    gpu::Shared<float>(kQueries)[i] = v < count ? entry.Query(first + v)[i / kVectors] : 0;
  }
  gpu::SyncThreads();
  float max[kVectors], sum[kVectors] = {};
  TF_UNROLL
  for (float& m : max) m = kMinusInfinity;
  Scores<T>(work, seen, keys, max);
  Fold(max, [](float a, float b) { return gpu::Max(a, b); });
  Weigh(max, sum);
  Fold(sum, [](float a, float b) { return a + b; });
  Outputs<T>(work, keys);
  gpu::SyncThreads();

  constexpr float kLn2 = 0.693147180559945309f;
  const int64_t elements = kVectors * work.head_dim;
  for (int64_t i = gpu::ThreadIndex(); i < count * work.head_dim; i += kThreads) {
    float total = 0;
    for (int warp = 0; warp < kWarps; ++warp) total += gpu::Shared<float>(OutAt(work.head_dim))[warp * elements + i];
    work.out[entry.Place(first) * work.head_dim + i] = total;
  }
  TF_UNROLL
  for (int v = 0; v < kVectors; ++v) {
    if (gpu::ThreadIndex() != v || v >= count) continue;
    work.max[entry.Place(first + v)] = max[v] * kLn2;
    work.sum[entry.Place(first + v)] = sum[v];
  }
}

}  // namespace

void AttentionPartialPlainCuda(CudaLane& lane, DType dtype, int64_t entries, const PartialWork& work) {
  WithFloatType(dtype, [&]<typename T>(T) {
    Launch<PlainKernel<T>>(lane, "attention",
                           {.x = entries * ((work.vectors + kVectors - 1) / kVectors),
                            .threads = kThreads,
                            .shared_bytes = Bytes(work.head_dim)},
                           work);
  });
}

}  // namespace triforce
