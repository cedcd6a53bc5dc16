#include "kernels/ops/argmax.h"

#include <doctest/doctest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <vector>

#include "kernels/ops/op_testing.h"

namespace triforce {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
const float kNan = std::nanf("");

// Bit for bit, so that NaN equals itself.
void CheckSame(float a, float b) { CHECK(std::bit_cast<uint32_t>(a) == std::bit_cast<uint32_t>(b)); }

std::vector<int32_t> ArgmaxOf(OpTest& test, const TensorView& values) {
  const TensorView out = test.New(DType::kI32, {values.dim(0)}), largest = test.New(DType::kF32, {values.dim(0)});
  Argmax(test.lane(), {values, out});
  const std::vector<int32_t> places = test.ReadInts(out);
  Argmax(test.lane(), {values, out, largest});
  CHECK(test.ReadInts(out) == places);
  const std::vector<float> found = test.Read(largest);
  for (int64_t row = 0; row < values.dim(0); ++row) {
    CheckSame(found[row], test.Read(values.Slice(0, row, row + 1))[places[row]]);
  }
  return places;
}

TEST_CASE("argmax equals its reference, ties included") {
  ForEachDevice([](OpTest& test) {
    for (int64_t n : {1, 7, 16, 33, 4096, 32003}) {
      const int64_t rows = n > 4096 ? 3 : 20;
      std::vector<float> values = RandomNormal(rows * n, n);
      for (float& value : values) value = std::round(value * 2);  // many ties
      const TensorView t = test.From(values, DType::kF32, {rows, n});
      const TensorView expected = test.New(DType::kI32, {rows});
      ArgmaxReference({t, expected});
      CHECK(ArgmaxOf(test, t) == test.ReadInts(expected));
    }
  });
}

TEST_CASE("argmax: the lowest of equals; NaN never; infinities as values") {
  ForEachDevice([](OpTest& test) {
    const auto of = [&](std::vector<float> row) {
      row.resize(40, row.back());
      return ArgmaxOf(test, test.From(row, DType::kF32, {1, 40}))[0];
    };
    CHECK(of({1, 3, 3, 0}) == 1);
    CHECK(of({kNan, 2, kNan, 5, kNan}) == 3);
    CHECK(of({kNan}) == 0);
    CHECK(of({-kInfinity}) == 0);
    CHECK(of({0, kInfinity, kInfinity}) == 1);
    CHECK(of({0, -1}) == 0);
    CHECK(of({-1, -0.0f, 0}) == 1);
    CHECK(of({-3, -2, -4}) == 1);
  });
}

TEST_CASE("argmax: a row's result does not depend on the rows around it") {
  ForEachDevice([](OpTest& test) {
    const TensorView values = test.Random(DType::kF32, {512, 80}, 1).Slice(1, 1, 78);
    CheckRowInvariance(test, [&](int64_t first, int64_t rows) {
      std::vector<float> result;
      for (int32_t id : ArgmaxOf(test, values.Slice(0, first, first + rows))) result.push_back(static_cast<float>(id));
      return result;
    });
  });
}

}  // namespace
}  // namespace triforce
