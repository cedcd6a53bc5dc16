#include "kernels/ops/rope.h"

#include <doctest/doctest.h>

#include <cmath>
#include <functional>
#include <vector>

#include "kernels/ops/op_testing.h"

namespace triforce {
namespace {

struct Tables {
  TensorView cos;
  TensorView sin;
};

Tables NewTables(OpTest& test, int64_t rows, int64_t half) {
  return {test.New(DType::kF32, {rows, half}), test.New(DType::kF32, {rows, half})};
}

// The CPU takes cos and sin in double and rounds them. A GPU's of f32 are off by 2 ulps at most (CUDA C++ Programming
// Guide, Mathematical Functions), an ulp being 2^-24 below 1, and the product is rounded as well.
double TableTolerance(const OpTest& test, double scaling) { return test.cuda() ? 3 * scaling * 0x1p-24 : 0; }

TEST_CASE("rope_table equals its reference far out, and rounds the angle to f32") {
  ForEachDevice([](OpTest& test) {
    const TensorView positions = test.From(std::vector<int32_t>{0, 1, 77, 131071, 30001});
    const TensorView frequency = test.From(std::vector<float>{1.0f, 0.7498942f, 1e-4f}, DType::kF32, {3});
    const Tables tables = NewTables(test, 5, 3), expected = NewTables(test, 5, 3);
    RopeTableReference({positions, frequency, 1.25f, expected.cos, expected.sin});
    RopeTable(test.lane(), {positions, frequency, 1.25f, tables.cos, tables.sin});
    CHECK(MaxDifference(test.Read(tables.cos), test.Read(expected.cos)) <= TableTolerance(test, 1.25));
    CHECK(MaxDifference(test.Read(tables.sin), test.Read(expected.sin)) <= TableTolerance(test, 1.25));
    const float angle = 131071.0f * 0.7498942f;
    CHECK(test.Read(tables.cos)[3 * 3 + 1] == doctest::Approx(1.25 * std::cos(angle)).epsilon(1e-6));
    CHECK(test.Read(tables.cos)[0] == 1.25f);
    CHECK(test.Read(tables.sin)[0] == 0.0f);
  });
}

// Each result is a sum of two products of values below 6: three roundings of at most 12 * 2^-24 in all.
TEST_CASE("rope equals its reference, rows strided, every head") {
  ForEachDevice([](OpTest& test) {
    const int64_t rows = 21, heads = 3, head_dim = 20;
    const TensorView qkv = test.Random(DType::kF32, {rows, 100}, 1);
    const TensorView copy = test.From(test.Read(qkv), DType::kF32, {rows, 100});
    const Tables tables{test.Random(DType::kF32, {rows, head_dim / 2}, 2, 0.5f),
                        test.Random(DType::kF32, {rows, head_dim / 2}, 3, 0.5f)};
    const auto heads_of = [&](const TensorView& t) { return t.Slice(1, 20, 80).SplitRows(heads, head_dim); };
    RopeReference({heads_of(copy), tables.cos, tables.sin});
    Rope(test.lane(), {heads_of(qkv), tables.cos, tables.sin});
    CHECK(MaxDifference(test.Read(qkv), test.Read(copy)) <= 36 * 0x1p-24);
  });
}

TEST_CASE("rope turns element i together with element i + head_dim / 2") {
  ForEachDevice([](OpTest& test) {
    const TensorView x = test.From(std::vector<float>{1, 2, 3, 4}, DType::kF32, {1, 1, 4});
    const TensorView cos = test.From(std::vector<float>{0, 1}, DType::kF32, {1, 2});
    const TensorView sin = test.From(std::vector<float>{1, 0}, DType::kF32, {1, 2});
    Rope(test.lane(), {x, cos, sin});
    CHECK(test.Read(x) == std::vector<float>{-3, 2, 1, 4});
  });
}

TEST_CASE("rope: a row's bits do not depend on the rows around it") {
  ForEachDevice([](OpTest& test) {
    std::vector<int32_t> positions(512);
    for (int32_t i = 0; i < 512; ++i) positions[i] = 40 * i;
    const TensorView all = test.From(positions);
    const TensorView frequency = test.Random(DType::kF32, {32}, 1, 0.1f);
    const std::vector<float> values = RandomNormal(512 * 2 * 64, 2);
    const TensorView x = test.New(DType::kF32, {512, 2, 64});
    const Tables tables = NewTables(test, 512, 32);
    CheckRowInvariance(test, [&](int64_t first, int64_t rows) {
      const auto slice = [&](const TensorView& t) { return t.Slice(0, first, first + rows); };
      test.lane().Copy(x.data(), values.data(), x.bytes(), "reset");
      RopeTable(test.lane(), {slice(all), frequency, 1.0f, slice(tables.cos), slice(tables.sin)});
      Rope(test.lane(), {slice(x), slice(tables.cos), slice(tables.sin)});
      return test.Read(slice(x));
    });
  });
}

TEST_CASE("rope_table: a base on the device is added to the positions") {
  ForEachDevice([](OpTest& test) {
    const TensorView frequency = test.From(std::vector<float>{1.0f, 0.3f, 0.01f}, DType::kF32, {3});
    const TensorView base = test.From(std::vector<int64_t>{0});
    const TensorView counting = test.From(std::vector<int32_t>{0, 1, 2, 3, 4});
    const TensorView cos = test.New(DType::kF32, {5, 3}), sin = test.New(DType::kF32, {5, 3});
    const auto both = [&] {
      std::vector<float> all = test.Read(cos);
      for (const float s : test.Read(sin)) all.push_back(s);
      return all;
    };
    const auto queue = [&] { RopeTable(test.lane(), {counting, frequency, 1.5f, cos, sin, base}); };
    std::vector<std::function<void()>> changes;
    for (const int64_t first : {0, 7, 130043}) {
      const TensorView positions = test.From(std::vector<int32_t>{
          static_cast<int32_t>(first), static_cast<int32_t>(first + 1), static_cast<int32_t>(first + 2),
          static_cast<int32_t>(first + 3), static_cast<int32_t>(first + 4)});
      RopeTable(test.lane(), {positions, frequency, 1.5f, cos, sin});
      const std::vector<float> expected = both();
      test.Write(std::vector<int64_t>{first}, base);
      queue();
      CHECK(both() == expected);
      changes.push_back([&test, base, first] { test.Write(std::vector<int64_t>{first}, base); });
    }
    CheckReplays(test, queue, changes, both);
  });
}

}  // namespace
}  // namespace triforce
