// The exponential of softmax: of a score less the largest one. Cheaper than Highway's hn::Exp, which is right for all
// arguments; here none is above 0, and what weighs nothing beside 1 may be 0.
//
// Included once per SIMD target, after hwy/foreach_target.h.

#if defined(TRIFORCE_KERNELS_OPS_EXP_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TRIFORCE_KERNELS_OPS_EXP_INL_H_
#undef TRIFORCE_KERNELS_OPS_EXP_INL_H_
#else
#define TRIFORCE_KERNELS_OPS_EXP_INL_H_
#endif

#include <hwy/highway.h>

#include <cstdint>

#include "kernels/ops/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace triforce {
namespace HWY_NAMESPACE {

// exp(x) for x <= 0: exactly 1 at 0, 0 below -86, else off by at most 2^-22 of itself and |x| * 2^-28. NaN stays NaN.
//
// exp(x) = 2^n * exp(r), n = x / ln 2 rounded. r is one multiply-add away from x: n times the error of ln 2 in f32 is
// below 2^-28 |x|, less than a score of that size has been rounded by. exp(r) is the polynomial of degree 5 that begins
// with 1 + r and has the least greatest relative error for |r| <= ln 2 / 2: 2^-23.1.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V ExpOfNegative(D d, V x) {
  const hn::RebindToSigned<D> di;
  const V round = hn::Set(d, 0x1.8p23f);  // what is added to it is rounded, and stands in the lowest bits
  const V shifted = hn::MulAdd(x, hn::Set(d, 1.442695041f), round);
  const V n = hn::Sub(shifted, round);
  const V r = hn::NegMulAdd(n, hn::Set(d, 0.693147181f), x);
  V p = hn::MulAdd(hn::Set(d, 0x1.10625p-7f), r, hn::Set(d, 0x1.572a64p-5f));
  p = hn::MulAdd(p, r, hn::Set(d, 0x1.5557bp-3f));
  p = hn::MulAdd(p, r, hn::Set(d, 0x1.fffdfcp-2f));
  p = hn::MulAdd(p, r, hn::Set(d, 1.0f));
  p = hn::MulAdd(p, r, hn::Set(d, 1.0f));
  const V scaled = hn::BitCast(d, hn::Add(hn::BitCast(di, p), hn::ShiftLeft<23>(hn::BitCast(di, shifted))));
  return hn::IfThenZeroElse(hn::Lt(x, hn::Set(d, -86.0f)), scaled);
}

}  // namespace HWY_NAMESPACE
}  // namespace triforce
HWY_AFTER_NAMESPACE();

#endif  // TRIFORCE_KERNELS_OPS_EXP_INL_H_
