// Argmax on the CPU: the largest value by vectors, then the first place that has it.
#include <algorithm>
#include <limits>

#include "kernels/core/team.h"
#include "kernels/ops/argmax.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/ops/argmax_cpu.cc"
#include <hwy/foreach_target.h>
// After foreach_target.h:
#include "kernels/ops/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace triforce {
namespace HWY_NAMESPACE {
namespace {

// -infinity where all are NaN: a comparison with NaN is false, and so NaN is passed over.
float Largest(const float* values, int64_t count) {
  const FloatTag d;
  float most = -std::numeric_limits<float>::infinity();
  FloatVec best = hn::Set(d, most);
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    const FloatVec v = LoadFloats(values + i);
    best = hn::IfThenElse(hn::Gt(v, best), v, best);
  }
  most = hn::GetLane(hn::MaxOfLanes(d, best));
  for (; i < count; ++i) most = values[i] > most ? values[i] : most;
  return most;
}

void ArgmaxImpl(Team& team, const ArgmaxArgs& args) {
  const int64_t count = args.values.dim(1);
  team.For(args.values.dim(0), [&](Worker&, int64_t row) {
    const float* values = args.values.as<float>() + row * args.values.stride(0);
    const float most = Largest(values, count);
    const float* place = std::find(values, values + count, most);
    args.out.as<int32_t>()[row] = place == values + count ? 0 : static_cast<int32_t>(place - values);
  });
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace triforce
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace triforce {

HWY_EXPORT(ArgmaxImpl);

void ArgmaxCpu(Team& team, const ArgmaxArgs& args) { HWY_DYNAMIC_DISPATCH(ArgmaxImpl)(team, args); }

}  // namespace triforce
#endif  // HWY_ONCE
