// RmsNorm on CUDA: a block a row; the sum of squares in an order that depends on `hidden` alone.
#include "kernels/core/gpu_launch.h"
#include "kernels/ops/rms_norm.h"
#include "kernels/ops/row_block.h"

namespace triforce {
namespace {

constexpr int kLoads = 8;  // of each thread under way at a time

struct RmsNormRows {
  const float* x;  // each [rows, hidden], with its stride
  int64_t x_stride;
  const float* residual;  // or null; then there is no sum
  int64_t residual_stride;
  float* sum;
  int64_t sum_stride;
  float* out;
  int64_t out_stride;
  const float* weight;  // [hidden]
  int64_t hidden;
  float epsilon;
};

// Elements first, first + BlockThreads(), ... -> loaded; 0 behind the end.
TF_DEVICE void LoadStrip(const float* from, int64_t first, int64_t count, float (&loaded)[kLoads]) {
  TF_UNROLL for (int k = 0; k < kLoads; ++k) {
    const int64_t i = first + k * gpu::BlockThreads();
    loaded[k] = i < count ? from[i] : 0.0f;
  }
}

// This thread's part of the sum of squares; writes x + residual where there is one.
TF_DEVICE float AddSquares(const RmsNormRows& rows, const float* x) {
  float squares = 0;
  for (int64_t first = gpu::ThreadIndex(); first < rows.hidden; first += kLoads * gpu::BlockThreads()) {
    float value[kLoads], add[kLoads];
    LoadStrip(x, first, rows.hidden, value);
    if (rows.residual != nullptr) {
      LoadStrip(rows.residual + gpu::BlockX() * rows.residual_stride, first, rows.hidden, add);
      TF_UNROLL for (int k = 0; k < kLoads; ++k) {
        const int64_t i = first + k * gpu::BlockThreads();
        value[k] += add[k];
        if (i < rows.hidden) rows.sum[gpu::BlockX() * rows.sum_stride + i] = value[k];
      }
    }
    TF_UNROLL for (int k = 0; k < kLoads; ++k) squares = gpu::Fma(value[k], value[k], squares);
  }
  return squares;
}

TF_KERNEL(kMaxRowThreads) RmsNormKernel(RmsNormRows rows) {
  const float* x = rows.x + gpu::BlockX() * rows.x_stride;
  const float squares = SumBlock(AddSquares(rows, x), gpu::Shared<float>());
  const float scale = 1.0f / gpu::Sqrt(squares / static_cast<float>(rows.hidden) + rows.epsilon);
  if (rows.residual != nullptr) x = rows.sum + gpu::BlockX() * rows.sum_stride;  // what this same thread has written
  for (int64_t first = gpu::ThreadIndex(); first < rows.hidden; first += kLoads * gpu::BlockThreads()) {
    float value[kLoads], weight[kLoads];
    LoadStrip(x, first, rows.hidden, value);
    LoadStrip(rows.weight, first, rows.hidden, weight);
    TF_UNROLL for (int k = 0; k < kLoads; ++k) {
      const int64_t i = first + k * gpu::BlockThreads();
      if (i < rows.hidden) rows.out[gpu::BlockX() * rows.out_stride + i] = weight[k] * (value[k] * scale);
    }
  }
}

}  // namespace

void RmsNormCuda(CudaLane& lane, const RmsNormArgs& args) {
  RmsNormRows rows{.x = args.x.as<float>(),
                   .x_stride = args.x.stride(0),
                   .out = args.out.as<float>(),
                   .out_stride = args.out.stride(0),
                   .weight = args.weight.as<float>(),
                   .hidden = args.x.dim(1),
                   .epsilon = args.epsilon};
  if (args.residual) {
    rows.residual = args.residual.as<float>(), rows.residual_stride = args.residual.stride(0);
    rows.sum = args.sum.as<float>(), rows.sum_stride = args.sum.stride(0);
  }
  Launch<RmsNormKernel>(lane, "rms_norm",
                        {.x = args.x.dim(0),
                         .threads = RowThreads(rows.hidden, kLoads),
                         .shared_bytes = gpu::kWarpThreads * sizeof(float)},
                        rows);
}

}  // namespace triforce
