#include "kernels/ops/attention.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/core/cpu_lane.h"
#include "kernels/core/cuda_lane.h"
#include "kernels/ops/device_scalar.h"

namespace triforce {

// attention_cpu.cc
void AttentionPartialCpu(Team& team, const AttentionArgs& args, const AttentionPartials& partials);
void AttentionMergeCpu(Team& team, const AttentionMergeArgs& args);
void AttentionPrefillCpu(Team& team, const AttentionArgs& args, const TensorView& out);
// attention_partial_cuda.cu, attention_merge_cuda.cu
[[gnu::weak]] void AttentionPartialCuda(CudaLane& lane, const AttentionArgs& args, const AttentionPartials& partials);
[[gnu::weak]] void AttentionMergeCuda(CudaLane& lane, const AttentionMergeArgs& args);
// attention_prefill_cuda.cu
[[gnu::weak]] void AttentionPrefillCuda(CudaLane& lane, const AttentionArgs& args, const TensorView& out);

namespace {

constexpr int64_t kMaxHeadDim = 256;

void CheckRows(const TensorView& t, int64_t rows, int64_t heads, int64_t head_dim) {
  TF_CHECK(t.rank() == 3 && t.dtype() == DType::kF32 && t.dense_rows() && t.dim(0) == rows && t.dim(1) == heads &&
               t.dim(2) == head_dim,
           "{}, expected [{}, {}, {}]", t.ToString(), rows, heads, head_dim);
}

void Check(const AttentionArgs& args) {
  CheckKvView(args.kv, /*may_be_scattered=*/true);
  CheckRows(args.q, args.rows(), args.heads(), args.kv.head_dim());
  TF_CHECK(
      args.rows() > 0 && args.heads() % args.kv.kv_heads == 0 && args.kv.head_dim() <= kMaxHeadDim && args.visible >= 0,
      "q {}, KV {}, {} visible", args.q.ToString(), args.kv.blocks.ToString(), args.visible);
  CheckDeviceScalar(args.base);
}

void CheckWhole(const AttentionArgs& args, const TensorView& out) {
  Check(args);
  TF_CHECK(!args.kv.scattered() && !args.base);
  CheckRows(out, args.rows(), args.heads(), args.kv.head_dim());
  TF_CHECK(args.kv.first_entry == 0 && args.VisibleTo(args.rows() - 1) <= args.kv.end_position(), "{} + {} rows of {}",
           args.visible, args.rows(), args.kv.blocks.ToString());
}

void CheckPartials(const AttentionPartials& partials) {
  const TensorView& out = partials.out;
  TF_CHECK(out.rank() == 4 && out.dtype() == DType::kF32 && out.dense(), "{}", out.ToString());
  for (const TensorView& t : {partials.max, partials.sum}) {
    TF_CHECK(t.rank() == 3 && t.dtype() == DType::kF32 && t.dense() && t.dim(0) == out.dim(0) &&
                 t.dim(1) == out.dim(1) && t.dim(2) == out.dim(2),
             "{} beside {}", t.ToString(), out.ToString());
  }
}

template <typename T>
void ReferenceRow(const AttentionArgs& args, int64_t row, int64_t head, float* out) {
  const int64_t head_dim = args.kv.head_dim();
  const int64_t kv_head = head / args.group();
  const int64_t visible = args.VisibleTo(row);
  const float* q = args.q.as<float>() + row * args.q.stride(0) + head * head_dim;
  std::vector<double> scores(visible);
  double max = -INFINITY;
  for (int64_t key = 0; key < visible; ++key) {
    const T* tile = KeyTileAt<T>(args.kv, kv_head, key);
    for (int64_t i = 0; i < head_dim; ++i) scores[key] += static_cast<double>(q[i]) * ToF32(tile[KeyElement(key, i)]);
    scores[key] *= args.scale;
    max = std::max(max, scores[key]);
  }
  double sum = 0;
  for (double& score : scores) sum += score = std::exp(score - max);
  for (int64_t i = 0; i < head_dim; ++i) {
    double total = 0;
    for (int64_t key = 0; key < visible; ++key) total += scores[key] * ToF32(ValueAt<T>(args.kv, kv_head, key)[i]);
    out[i] = visible == 0 ? 0.0f : static_cast<float>(total / sum);
  }
}

}  // namespace

void AttentionPartial(Lane& lane, const AttentionArgs& args, const AttentionPartials& partials) {
  Check(args);
  CheckPartials(partials);
  TF_CHECK(partials.out.dim(0) == args.kv.entries() && partials.out.dim(1) == args.rows() &&
               partials.out.dim(2) == args.group() && partials.out.dim(3) == args.kv.head_dim(),
           "partials {} for q {}", partials.out.ToString(), args.q.ToString());
  if (CudaLane* const cuda = AsCuda(lane)) return AttentionPartialCuda(*cuda, args, partials);
  AsCpu(lane).Run("attention", [args, partials](Team& team) {
    AttentionArgs by_value = args;
    by_value.visible += ValueOfScalar(args.base);
    AttentionPartialCpu(team, by_value, partials);
  });
}

void AttentionMerge(Lane& lane, const AttentionMergeArgs& args) {
  CheckPartials(args.partials);
  const TensorView& partials = args.partials.out;
  CheckRows(args.state.out, partials.dim(1), partials.dim(2) * args.kv_heads, partials.dim(3));
  for (const TensorView& t : {args.state.max, args.state.sum}) {
    TF_CHECK(t.rank() == 2 && t.dtype() == DType::kF32 && t.dense() && t.dim(0) == args.state.out.dim(0) &&
                 t.dim(1) == args.state.out.dim(1),
             "{}", t.ToString());
  }
  if (CudaLane* const cuda = AsCuda(lane)) return AttentionMergeCuda(*cuda, args);
  AsCpu(lane).Run("attention_merge", [args](Team& team) { AttentionMergeCpu(team, args); });
}

void AttentionPrefill(Lane& lane, const AttentionArgs& args, const TensorView& out) {
  CheckWhole(args, out);
  if (CudaLane* const cuda = AsCuda(lane)) return AttentionPrefillCuda(*cuda, args, out);
  AsCpu(lane).Run("attention_prefill", [args, out](Team& team) { AttentionPrefillCpu(team, args, out); });
}

void AttentionReference(const AttentionArgs& args, const TensorView& out) {
  CheckWhole(args, out);
  for (int64_t row = 0; row < args.rows(); ++row) {
    for (int64_t head = 0; head < args.heads(); ++head) {
      WithFloatType(args.kv.dtype(), [&]<typename T>(T) {
        ReferenceRow<T>(args, row, head, out.as<float>() + row * out.stride(0) + head * args.kv.head_dim());
      });
    }
  }
}

}  // namespace triforce
