#include "kernels/ops/rms_norm.h"

#include <cmath>

#include "kernels/core/cpu_lane.h"
#include "kernels/core/cuda_lane.h"

namespace triforce {

void RmsNormCpu(Team& team, const RmsNormArgs& args);                     // rms_norm_cpu.cc
[[gnu::weak]] void RmsNormCuda(CudaLane& lane, const RmsNormArgs& args);  // rms_norm_cuda.cu

namespace {

void CheckRows(const TensorView& t, const TensorView& x) {
  TF_CHECK(t.rank() == 2 && t.dtype() == DType::kF32 && t.dense_rows() && t.dim(0) == x.dim(0) && t.dim(1) == x.dim(1),
           "{} beside {}", t.ToString(), x.ToString());
}

void Check(const RmsNormArgs& args) {
  CheckRows(args.x, args.x);
  CheckRows(args.out, args.x);
  TF_CHECK(args.weight.rank() == 1 && args.weight.dtype() == DType::kF32 && args.weight.dim(0) == args.x.dim(1),
           "weight {}", args.weight.ToString());
  if (args.residual) {
    CheckRows(args.residual, args.x);
    CheckRows(args.sum, args.x);
  }
}

}  // namespace

void RmsNorm(Lane& lane, const RmsNormArgs& args) {
  Check(args);
  if (CudaLane* const cuda = AsCuda(lane)) return RmsNormCuda(*cuda, args);
  AsCpu(lane).Run("rms_norm", [args](Team& team) { RmsNormCpu(team, args); });
}

void RmsNormReference(const RmsNormArgs& args) {
  Check(args);
  const int64_t hidden = args.x.dim(1);
  for (int64_t row = 0; row < args.x.dim(0); ++row) {
    const float* x = args.x.as<float>() + row * args.x.stride(0);
    if (args.residual) {
      float* sum = args.sum.as<float>() + row * args.sum.stride(0);
      const float* residual = args.residual.as<float>() + row * args.residual.stride(0);
      for (int64_t i = 0; i < hidden; ++i) sum[i] = x[i] + residual[i];
      x = sum;
    }
    double squares = 0;
    for (int64_t i = 0; i < hidden; ++i) squares += static_cast<double>(x[i]) * x[i];
    const double scale = 1 / std::sqrt(squares / static_cast<double>(hidden) + args.epsilon);
    float* out = args.out.as<float>() + row * args.out.stride(0);
    for (int64_t i = 0; i < hidden; ++i) out[i] = static_cast<float>(args.weight.as<float>()[i] * (x[i] * scale));
  }
}

}  // namespace triforce
