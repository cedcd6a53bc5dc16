// ExpOfNegative against the library's, on every SIMD target that this machine has and the build knows.
#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <vector>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/ops/exp_test.cc"
#include <hwy/foreach_target.h>
// After foreach_target.h:
#include "kernels/ops/exp-inl.h"

HWY_BEFORE_NAMESPACE();
namespace triforce {
namespace HWY_NAMESPACE {
namespace {

float ExpImpl(float x) { return hn::GetLane(ExpOfNegative(FloatTag(), hn::Set(FloatTag(), x))); }

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace triforce
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace triforce {
namespace {

HWY_EXPORT(ExpImpl);

float Exp(float x) { return HWY_DYNAMIC_DISPATCH(ExpImpl)(x); }

// No check of row invariance: a number at a time, in a lane of its own; those who call it have rows.
TEST_CASE("exp: exact at 0, as near as it says below, 0 far below") {
  CHECK(Exp(0.0f) == 1.0f);
  CHECK(Exp(-0.0f) == 1.0f);
  for (int i = 1; i <= 860000; ++i) {
    const float x = -1e-4f * static_cast<float>(i);
    if (x < -86.0f) break;
    const double expected = std::exp(static_cast<double>(x));
    const double error = std::abs(Exp(x) - expected) / expected;
    if (error > 0x1p-22 - x * 0x1p-28) FAIL_CHECK(x << " is off by " << error);
  }
  CHECK(Exp(-86.5f) == 0.0f);
  CHECK(Exp(-1e30f) == 0.0f);
  CHECK(Exp(-std::numeric_limits<float>::infinity()) == 0.0f);
  CHECK(std::isnan(Exp(std::nanf(""))));
}

}  // namespace
}  // namespace triforce
#endif  // HWY_ONCE
