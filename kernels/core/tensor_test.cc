#include "kernels/core/tensor.h"

#include <doctest/doctest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <vector>

namespace triforce {
namespace {

TEST_CASE("slices and reshapes point where they should") {
  std::vector<float> data(24);
  for (int i = 0; i < 24; ++i) data[i] = static_cast<float>(i);
  const TensorView t(nullptr, data.data(), DType::kF32, {4, 6});
  CHECK(t.dense());
  const TensorView columns = t.Slice(1, 2, 5);
  CHECK(columns.as<float>()[0] == 2);
  CHECK(columns.stride(0) == 6);
  CHECK(columns.dense_rows());
  CHECK_FALSE(columns.dense());
  const TensorView heads = t.Slice(1, 2, 6).SplitRows(2, 2);
  CHECK(heads.rank() == 3);
  CHECK(heads.as<float>()[heads.stride(0) * 3 + heads.stride(1)] == 22);
  CHECK(t.Slice(0, 1, 3).Reshape({2, 3, 2}).as<float>()[11] == 17);
  CHECK(columns.bytes() == 4 * 3 * 4);
  CHECK(t.ToString() == "f32 [4, 6]");
  CHECK_FALSE(TensorView());
}

// Every one of the 2^16 half floats, there and back, and the roundings half way between neighbours.
TEST_CASE("f16 and bf16 conversions round to nearest even") {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const F16 h{static_cast<uint16_t>(bits)};
    const BF16 b{static_cast<uint16_t>(bits)};
    if (!std::isnan(ToF32(h))) REQUIRE(ToF16(ToF32(h)).bits == bits);
    if (!std::isnan(ToF32(b))) REQUIRE(ToBF16(ToF32(b)).bits == bits);
  }
  CHECK(ToF16(1.0f + 0x1p-11f).bits == ToF16(1.0f).bits);            // a tie goes to the even one below
  CHECK(ToF16(1.0f + 0x3p-11f).bits == ToF16(1.0f + 0x1p-9f).bits);  // and to the even one above
  CHECK(ToBF16(1.0f + 0x1p-8f).bits == ToBF16(1.0f).bits);
  CHECK(ToBF16(1.0f + 0x3p-8f).bits == ToBF16(1.0f + 0x1p-6f).bits);
  CHECK(ToF16(65504.0f).bits == 0x7bff);
  CHECK(ToF16(65520.0f).bits == 0x7c00);
  CHECK(ToF16(0x1p-24f).bits == 1);
  CHECK(std::isnan(ToF32(ToBF16(std::bit_cast<float>(0x7f800001u)))));
  CHECK(std::isnan(ToF32(ToF16(std::numeric_limits<float>::quiet_NaN()))));
}

TEST_CASE("dtype names parse back") {
  for (DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) CHECK(ParseFloatDType(Name(dtype)) == dtype);
  CHECK_FALSE(ParseFloatDType("i32"));
  CHECK_FALSE(ParseFloatDType("F16"));
}

}  // namespace
}  // namespace triforce
