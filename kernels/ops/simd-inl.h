// What the fast CPU ops share on top of Highway. Included once per SIMD target, after hwy/foreach_target.h.
//
// Rule 2 of DESIGN.md: a sum's order depends on nothing but its own length. Sums over vectors of any width are
// therefore kept in kSumLanes partial sums and folded in one fixed tree, so that AVX2 and AVX-512 give the same bits
// too.

#if defined(TRIFORCE_KERNELS_OPS_SIMD_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TRIFORCE_KERNELS_OPS_SIMD_INL_H_
#undef TRIFORCE_KERNELS_OPS_SIMD_INL_H_
#else
#define TRIFORCE_KERNELS_OPS_SIMD_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <cstdint>
#include <limits>

#include "kernels/core/dtype.h"

HWY_BEFORE_NAMESPACE();
namespace triforce {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

using FloatTag = hn::ScalableTag<float>;
using FloatVec = hn::Vec<FloatTag>;

// Lanes of a FloatVec: 4, 8 or 16.
inline constexpr int64_t kLanes = static_cast<int64_t>(HWY_LANES(float));
static_assert(kLanes <= 16);

// The bits of kLanes 16-bit floats of type T (F16 or BF16), widened to f32.
template <typename T, class V>
HWY_INLINE FloatVec WidenBits(V bits) {
  if constexpr (kDTypeOf<T> == DType::kF16) {
    return hn::PromoteTo(FloatTag(), hn::BitCast(hn::Rebind<hwy::float16_t, FloatTag>(), bits));
  } else {
    return hn::BitCast(FloatTag(), hn::ShiftLeft<16>(hn::PromoteTo(hn::RebindToUnsigned<FloatTag>(), bits)));
  }
}

// kLanes elements, widened to f32. No alignment is needed.
HWY_INLINE FloatVec LoadFloats(const float* p) { return hn::LoadU(FloatTag(), p); }
template <typename T>
HWY_INLINE FloatVec LoadFloats(const T* p) {
  return WidenBits<T>(hn::LoadU(hn::Rebind<uint16_t, FloatTag>(), reinterpret_cast<const uint16_t*>(p)));
}

HWY_INLINE void StoreFloats(FloatVec v, float* p) { hn::StoreU(v, FloatTag(), p); }

// Rounded as FromF32 does, to nearest even. (Of Highway's own conversions in this version, the one to bf16 cuts off,
// and so does the scalar one to f16.)
HWY_INLINE void StoreFloats(FloatVec v, F16* p) {
#if HWY_TARGET == HWY_SCALAR
  *p = ToF16(hn::GetLane(v));
#else
  const hn::Rebind<hwy::float16_t, FloatTag> half;
  hn::StoreU(hn::DemoteTo(half, v), half, reinterpret_cast<hwy::float16_t*>(p));
#endif
}
HWY_INLINE void StoreFloats(FloatVec v, BF16* p) {
  const hn::RebindToUnsigned<FloatTag> wide;
  const hn::Rebind<uint16_t, FloatTag> narrow;
  const auto bits = hn::BitCast(wide, v);
  const auto odd = hn::And(hn::ShiftRight<16>(bits), hn::Set(wide, 1));
  const auto rounded = hn::Add(bits, hn::Add(odd, hn::Set(wide, 0x7fff)));
  const auto quiet = hn::Or(bits, hn::Set(wide, 0x400000));
  const auto is_nan = hn::RebindMask(wide, hn::IsNaN(v));
  const auto top = hn::ShiftRight<16>(hn::IfThenElse(is_nan, quiet, rounded));
  hn::StoreU(hn::DemoteTo(narrow, hn::BitCast(hn::RebindToSigned<FloatTag>(), top)), narrow,
             reinterpret_cast<uint16_t*>(p));
}

// A sum in 16 partial sums, whatever the vector's width: element i of the input goes to partial sum i % 16.
inline constexpr int64_t kSumLanes = 16;

class LaneSum {
 public:
  LaneSum() {
    for (FloatVec& part : parts_) part = hn::Zero(FloatTag());
  }
  static constexpr int kVectors = kSumLanes / kLanes;

  // Adds the elements of vector number `index` of the input (elements index * kLanes and on).
  HWY_INLINE void Add(int64_t index, FloatVec v) {
    FloatVec& part = parts_[index % kVectors];
    part = hn::Add(part, v);
  }
  HWY_INLINE void MulAdd(int64_t index, FloatVec a, FloatVec b) {
    FloatVec& part = parts_[index % kVectors];
    part = hn::MulAdd(a, b, part);
  }
  HWY_INLINE float Total() const {
    HWY_ALIGN float lanes[kSumLanes];
    for (int i = 0; i < kVectors; ++i) StoreFloats(parts_[i], lanes + i * kLanes);
    for (int64_t width = kSumLanes / 2; width > 0; width /= 2) {
      for (int64_t i = 0; i < width; ++i) lanes[i] += lanes[i + width];
    }
    return lanes[0];
  }

 private:
  FloatVec parts_[kVectors];
};

// NaN is passed over; -infinity where there is nothing else.
HWY_INLINE float Largest(const float* values, int64_t count) {
  constexpr int kChains = 4;
  const FloatTag d;
  float most = -std::numeric_limits<float>::infinity();
  FloatVec best[kChains];
  for (FloatVec& b : best) b = hn::Set(d, most);
  int64_t i = 0;
  for (; i + kChains * kLanes <= count; i += kChains * kLanes) {
    for (int c = 0; c < kChains; ++c) {
      const FloatVec v = LoadFloats(values + i + c * kLanes);
      best[c] = hn::IfThenElse(hn::Gt(v, best[c]), v, best[c]);  // false where v is NaN
    }
  }
  for (int c = 1; c < kChains; ++c) best[0] = hn::Max(best[0], best[c]);
  most = hn::GetLane(hn::MaxOfLanes(d, best[0]));
  for (; i < count; ++i) most = values[i] > most ? values[i] : most;
  return most;
}

// The lowest place that holds `value`; `count` where there is none.
HWY_INLINE int64_t FirstPlace(const float* values, int64_t count, float value) {
  const FloatTag d;
  int64_t i = 0;
  while (i + kLanes <= count && hn::AllFalse(d, hn::Eq(LoadFloats(values + i), hn::Set(d, value)))) i += kLanes;
  while (i < count && values[i] != value) ++i;
  return i;
}

// The product of two vectors of `count` elements, in sixteen partial sums.
template <typename T>
HWY_INLINE float DotProduct(const float* HWY_RESTRICT a, const T* HWY_RESTRICT b, int64_t count) {
  LaneSum sum;
  const int64_t whole = count / kLanes * kLanes;
  for (int64_t i = 0; i < whole; i += kLanes) sum.MulAdd(i / kLanes, LoadFloats(a + i), LoadFloats(b + i));
  if (whole < count) {
    float rest_a[kSumLanes] = {};
    T rest_b[kSumLanes] = {};
    std::copy(a + whole, a + count, rest_a);
    std::copy(b + whole, b + count, rest_b);
    sum.MulAdd(whole / kLanes, LoadFloats(rest_a), LoadFloats(rest_b));
  }
  return sum.Total();
}

}  // namespace HWY_NAMESPACE
}  // namespace triforce
HWY_AFTER_NAMESPACE();

#endif  // TRIFORCE_KERNELS_OPS_SIMD_INL_H_
