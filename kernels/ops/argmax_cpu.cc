// Argmax on the CPU: the largest value by vectors, then the first place that has it.
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

void ArgmaxImpl(Team& team, const ArgmaxArgs& args) {
  const int64_t count = args.values.dim(1);
  team.For(args.values.dim(0), [&](Worker&, int64_t row) {
    const float* values = args.values.as<float>() + row * args.values.stride(0);
    const int64_t found = FirstPlace(values, count, Largest(values, count)), place = found == count ? 0 : found;
    args.out.as<int32_t>()[row] = static_cast<int32_t>(place);
    if (args.largest) args.largest.as<float>()[row] = values[place];
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
