// RmsNorm on the CPU: a row per item; the sum of squares in LaneSum's fixed order.
#include <cmath>

#include "kernels/core/team.h"
#include "kernels/ops/rms_norm.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/ops/rms_norm_cpu.cc"
#include <hwy/foreach_target.h>
// After foreach_target.h:
#include "kernels/ops/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace triforce {
namespace HWY_NAMESPACE {
namespace {

void AddRow(const float* a, const float* b, int64_t count, float* out) {
  for (int64_t i = 0; i < count; ++i) out[i] = a[i] + b[i];
}

float MeanSquare(const float* x, int64_t count) {
  LaneSum squares;
  int64_t i = 0;
  for (; i + kSumLanes <= count; i += kSumLanes) {
    for (int64_t v = 0; v < kSumLanes; v += kLanes) {
      const FloatVec value = LoadFloats(x + i + v);
      squares.MulAdd(v / kLanes, value, value);
    }
  }
  float rest = 0;
  for (; i < count; ++i) rest += x[i] * x[i];
  return (squares.Total() + rest) / static_cast<float>(count);
}

void NormRow(const RmsNormArgs& args, int64_t row) {
  const int64_t hidden = args.x.dim(1);
  const float* x = args.x.as<float>() + row * args.x.stride(0);
  if (args.residual) {
    float* sum = args.sum.as<float>() + row * args.sum.stride(0);
    AddRow(x, args.residual.as<float>() + row * args.residual.stride(0), hidden, sum);
    x = sum;
  }
  const float scale = 1.0f / std::sqrt(MeanSquare(x, hidden) + args.epsilon);
  const float* weight = args.weight.as<float>();
  float* out = args.out.as<float>() + row * args.out.stride(0);
  for (int64_t i = 0; i < hidden; ++i) out[i] = weight[i] * (x[i] * scale);
}

void RmsNormImpl(Team& team, const RmsNormArgs& args) {
  team.For(args.x.dim(0), [&](Worker&, int64_t row) { NormRow(args, row); });
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace triforce
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace triforce {

HWY_EXPORT(RmsNormImpl);

void RmsNormCpu(Team& team, const RmsNormArgs& args) { HWY_DYNAMIC_DISPATCH(RmsNormImpl)(team, args); }

}  // namespace triforce
#endif  // HWY_ONCE
