// AttentionPrefill on CUDA for what the tensor cores' kernel (attention_prefill_cuda.cu) does not take: f32 KV and
// heads of other sizes. Everything is f32. A warp has kRows rows of one head: its lanes are keys for the scores,
// elements of head_dim for the outputs. A row's bits depend on that row alone.
#include "kernels/core/gpu_launch.h"
#include "kernels/ops/attention_prefill.h"

namespace triforce {
namespace {

constexpr int kWarps = 4;
constexpr int kThreads = kWarps * gpu::kWarpThreads;
constexpr int kRows = 4;                  // of a warp
constexpr int kStep = gpu::kWarpThreads;  // keys: one a lane

// Two elements of a key that lie side by side.
template <typename T>
struct alignas(2 * sizeof(T)) Pair {
  T even, odd;
};

// The warp's queries in shared memory, [kRows, head_dim], scaled.
template <typename T>
TF_DEVICE float* LoadQueries(const PrefillWork<T>& work, int head, int first_row) {
  float* const q = gpu::Shared<float>() + gpu::WarpIndex() * kRows * work.head_dim;
  for (int row = 0; row < kRows; ++row) {
    const float* const from = work.Query(first_row + row, head);
    for (int i = gpu::LaneIndex(); i < work.head_dim; i += gpu::kWarpThreads) {
      q[row * work.head_dim + i] = from[i] * work.scale;
    }
  }
  gpu::SyncWarp();
  return q;
}

// Each row's q.k with this lane's key.
template <typename T>
TF_DEVICE void Scores(const PrefillWork<T>& work, const float* q, const T* keys, float (&scores)[kRows]) {
  const int tile = gpu::LaneIndex() / kKeyTile;
  const auto* const key =
      reinterpret_cast<const Pair<T>*>(keys + tile * kKeyTile * work.head_dim) + gpu::LaneIndex() % kKeyTile;
  TF_UNROLL
  for (int row = 0; row < kRows; ++row) scores[row] = 0;
  for (int i = 0; i < work.head_dim; i += 2) {
    const Pair<T> pair = key[i / 2 * kKeyTile];
    const float even = gpu::ToFloat(pair.even), odd = gpu::ToFloat(pair.odd);
    TF_UNROLL
    for (int row = 0; row < kRows; ++row) {
      const float* const query = q + row * work.head_dim + i;
      scores[row] = gpu::Fma(query[1], odd, gpu::Fma(query[0], even, scores[row]));
    }
  }
}

// kColumns: elements of head_dim that a lane has, every 32nd.
template <typename T, int kColumns>
TF_KERNEL(kThreads)
PrefillPlainKernel(const PrefillWork<T> work) {
  const int lane = gpu::LaneIndex();
  const PrefillPlace place = PlaceOf(work, kWarps * kRows);
  const int first_row = place.first_row + gpu::WarpIndex() * kRows;
  if (first_row >= work.rows) return;
  const float* const q = LoadQueries(work, place.head, first_row);
  float out[kRows][kColumns] = {}, base[kRows], sum[kRows] = {};
  TF_UNROLL
  for (int row = 0; row < kRows; ++row) base[row] = kNothingSeen;

  const int visible = work.VisibleTo(first_row + kRows - 1);
  for (int first_key = 0; first_key < visible; first_key += kStep) {
    const T* const keys = work.Keys(place.kv_head, first_key);
    float weights[kRows];
    Scores(work, q, keys, weights);
    TF_UNROLL
    for (int row = 0; row < kRows; ++row) {
      const float score = first_key + lane < work.VisibleTo(first_row + row) ? weights[row] : kUnseen;
      float most = gpu::Max(base[row], score);
      TF_UNROLL
      for (int mask = 1; mask < gpu::kWarpThreads; mask *= 2) most = gpu::Max(most, gpu::ShuffleXor(most, mask));
      const float correction = gpu::Exp2(base[row] - most);
      base[row] = most;
      weights[row] = gpu::Exp2(score - most);
      sum[row] = sum[row] * correction + weights[row];
      TF_UNROLL
      for (int i = 0; i < kColumns; ++i) out[row][i] *= correction;
    }
    for (int k = 0; k < kStep && first_key + k < visible; ++k) {
      const T* const value = keys + work.values + k * work.head_dim;
      float elements[kColumns];
      TF_UNROLL
      for (int i = 0; i < kColumns; ++i) {
        const int column = i * gpu::kWarpThreads + lane;
        elements[i] = column < work.head_dim ? gpu::ToFloat(value[column]) : 0;
      }
      TF_UNROLL
      for (int row = 0; row < kRows; ++row) {
        const float weight = gpu::Shuffle(weights[row], k);
        if (weight == 0) continue;  // the value of a key that the row does not see can be anything
        TF_UNROLL
        for (int i = 0; i < kColumns; ++i) out[row][i] = gpu::Fma(weight, elements[i], out[row][i]);
      }
    }
  }
  TF_UNROLL
  for (int row = 0; row < kRows; ++row) {
    TF_UNROLL
    for (int mask = 1; mask < gpu::kWarpThreads; mask *= 2) sum[row] += gpu::ShuffleXor(sum[row], mask);
    if (first_row + row >= work.rows) continue;
    const float factor = sum[row] == 0 ? 0 : 1 / sum[row];
    TF_UNROLL
    for (int i = 0; i < kColumns; ++i) {
      const int column = i * gpu::kWarpThreads + lane;
      if (column < work.head_dim) work.Out(first_row + row, place.head)[column] = out[row][i] * factor;
    }
  }
}

}  // namespace

void AttentionPrefillPlainly(CudaLane& lane, const AttentionArgs& args, const TensorView& out) {
  WithFloatType(args.kv.dtype(), [&]<typename T>(T) {
    const PrefillWork<T> work = PrefillWorkOf<T>(args, out, kWarps * kRows);
    const LaunchShape shape{.x = int64_t{work.heads} * work.row_blocks,
                            .threads = kThreads,
                            .shared_bytes = kWarps * kRows * work.head_dim * static_cast<int64_t>(sizeof(float))};
    if (work.head_dim <= 4 * gpu::kWarpThreads) {
      Launch<PrefillPlainKernel<T, 4>>(lane, "attention_prefill_plain", shape, work);
    } else {
      Launch<PrefillPlainKernel<T, 8>>(lane, "attention_prefill_plain", shape, work);
    }
  });
}

}  // namespace triforce
