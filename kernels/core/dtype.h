// Element types of tensors, and scalar conversions between them.
#pragma once

#include <bit>
#include <cstdint>
#include <optional>
#include <string_view>

namespace triforce {

enum class DType : uint8_t { kF32, kF16, kBF16, kI32, kI64 };

constexpr int64_t SizeOf(DType dtype) {
  return dtype == DType::kI64 ? 8 : dtype == DType::kF32 || dtype == DType::kI32 ? 4 : 2;
}
constexpr bool IsFloat(DType dtype) { return dtype != DType::kI32 && dtype != DType::kI64; }

// "f32", "f16", "bf16", "i32", "i64": as in flags and messages.
std::string_view Name(DType dtype);

// The inverse of Name, for the three floating-point types.
std::optional<DType> ParseFloatDType(std::string_view name);

// Storage of 16-bit floats. Arithmetic is done in f32; these only carry bits.
struct F16 {
  uint16_t bits;
};
struct BF16 {
  uint16_t bits;
};

// Exact.
float ToF32(F16 value);
constexpr float ToF32(BF16 value) { return std::bit_cast<float>(static_cast<uint32_t>(value.bits) << 16); }
constexpr float ToF32(float value) { return value; }

// Rounds to nearest, ties to even; overflows to infinity; NaN stays NaN.
F16 ToF16(float value);
BF16 ToBF16(float value);

// FromF32<T>: the same by type.
template <typename T>
T FromF32(float value);
template <>
inline float FromF32<float>(float value) {
  return value;
}
template <>
inline F16 FromF32<F16>(float value) {
  return ToF16(value);
}
template <>
inline BF16 FromF32<BF16>(float value) {
  return ToBF16(value);
}

// kDTypeOf<F16> == DType::kF16, and so on.
template <typename T>
inline constexpr DType kDTypeOf = DType::kF32;
template <>
inline constexpr DType kDTypeOf<F16> = DType::kF16;
template <>
inline constexpr DType kDTypeOf<BF16> = DType::kBF16;
template <>
inline constexpr DType kDTypeOf<int32_t> = DType::kI32;
template <>
inline constexpr DType kDTypeOf<int64_t> = DType::kI64;

// Calls `f` with a value-initialised float, F16 or BF16, as `dtype` says: the one place where a run-time type becomes a
// template argument. REQUIRES: a floating-point dtype (others call f with float; callers check first).
template <typename F>
decltype(auto) WithFloatType(DType dtype, F&& f) {
  switch (dtype) {
    case DType::kF16:
      return f(F16{});
    case DType::kBF16:
      return f(BF16{});
    default:
      return f(float{});
  }
}

}  // namespace triforce
