#include "kernels/core/dtype.h"

namespace triforce {

std::string_view Name(DType dtype) {
  switch (dtype) {
    case DType::kF32:
      return "f32";
    case DType::kF16:
      return "f16";
    case DType::kBF16:
      return "bf16";
    case DType::kI32:
      return "i32";
    case DType::kI64:
      return "i64";
  }
  return "?";
}

std::optional<DType> ParseFloatDType(std::string_view name) {
  for (DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
    if (name == Name(dtype)) return dtype;
  }
  return std::nullopt;
}

// _Float16 converts in hardware where the compiler may assume F16C, and through libgcc elsewhere; both round to nearest
// even.
float ToF32(F16 value) { return static_cast<float>(std::bit_cast<_Float16>(value.bits)); }

F16 ToF16(float value) { return {std::bit_cast<uint16_t>(static_cast<_Float16>(value))}; }

BF16 ToBF16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return {static_cast<uint16_t>((bits >> 16) | 0x40u)};  // a quiet NaN
  return {static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16)};
}

}  // namespace triforce
