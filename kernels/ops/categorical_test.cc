#include "kernels/ops/categorical.h"

#include <doctest/doctest.h>

#include <cmath>
#include <vector>

#include "kernels/ops/op_testing.h"

namespace triforce {
namespace {

// What `row` gives for u just below (numerator + 1) / 2^32, or, with `low` 0, for u = numerator / 2^32.
int32_t DrawAt(OpTest& test, const std::vector<float>& row, uint32_t numerator, int32_t low = -1) {
  const TensorView p = test.From(row, DType::kF32, {1, static_cast<int64_t>(row.size())});
  const TensorView bits = test.From(std::vector<int32_t>{low, static_cast<int32_t>(numerator)}).Reshape({1, 2});
  const TensorView out = test.New(DType::kI32, {1});
  Categorical(test.lane(), {p, bits, out});
  return test.ReadInts(out)[0];
}

TEST_CASE("categorical: each index gets its share of [0, 1), zeros get none") {
  ForEachDevice([](OpTest& test) {
    const std::vector<float> row{0, 0.25f, 0, 0.5f, 0.25f, 0};
    CHECK(DrawAt(test, row, 0) == 1);
    CHECK(DrawAt(test, row, 0, /*low=*/0) == 1);  // u = 0 is no reason to draw what has no probability
    CHECK(DrawAt(test, row, 0x40000000, /*low=*/0) == 3);
    CHECK(DrawAt(test, row, 0x3fffffff) == 1);
    CHECK(DrawAt(test, row, 0x40000000) == 3);
    CHECK(DrawAt(test, row, 0xbfffffff) == 3);
    CHECK(DrawAt(test, row, 0xc0000000) == 4);
    CHECK(DrawAt(test, row, 0xffffffff) == 4);
    CHECK(DrawAt(test, {2, 6}, 0x3fffffff) == 0);
    CHECK(DrawAt(test, {2, 6}, 0x40000000) == 1);
  });
}

TEST_CASE("categorical: a row without positive finite sum gives -1") {
  ForEachDevice([](OpTest& test) {
    CHECK(DrawAt(test, {0, 0}, 5) == -1);
    CHECK(DrawAt(test, {1, std::nanf("")}, 5) == -1);
    CHECK(DrawAt(test, {1, INFINITY}, 5) == -1);
  });
}

TEST_CASE("categorical: a row's draw does not depend on the rows around it") {
  ForEachDevice([](OpTest& test) {
    std::vector<float> values = RandomNormal(512 * 50, 1);
    for (float& value : values) value = std::abs(value);
    const TensorView p = test.From(values, DType::kF32, {512, 50});
    std::vector<int32_t> random(1024);
    for (int32_t i = 0; i < 1024; ++i) random[i] = static_cast<int32_t>(i * 0x9e3779b9u);
    const TensorView bits = test.From(random).Reshape({512, 2});
    const TensorView out = test.New(DType::kI32, {512});
    CheckRowInvariance(test, [&](int64_t first, int64_t rows) {
      const auto slice = [&](const TensorView& t) { return t.Slice(0, first, first + rows); };
      Categorical(test.lane(), {slice(p), slice(bits), slice(out)});
      const std::vector<int32_t> ids = test.ReadInts(slice(out));
      return std::vector<float>(ids.begin(), ids.end());
    });
  });
}

}  // namespace
}  // namespace triforce
