#include "kernels/ops/categorical.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>
#include <random>
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

struct Drawn {
  std::vector<float> rows;
  std::vector<double> u;
  std::vector<int32_t> ids;
};

// Draws from each of `rows` rows of `count` probabilities, strided, with random bits; the last row's u is the largest.
Drawn DrawRows(OpTest& test, const std::vector<float>& values, int64_t rows, uint64_t seed) {
  const int64_t count = static_cast<int64_t>(values.size()) / rows;
  Drawn drawn{.rows = values};
  std::mt19937_64 random(seed);
  std::vector<int32_t> bits;
  std::vector<float> padded;
  for (int64_t row = 0; row < rows; ++row) {
    const uint64_t all = row + 1 < rows ? random() : ~uint64_t{0};
    drawn.u.push_back(static_cast<double>(all >> 11) * 0x1p-53);
    bits.push_back(static_cast<int32_t>(all)), bits.push_back(static_cast<int32_t>(all >> 32));
    padded.push_back(1);
    padded.insert(padded.end(), values.begin() + row * count, values.begin() + (row + 1) * count);
  }
  const TensorView out = test.New(DType::kI32, {rows});
  Categorical(test.lane(), {test.From(padded, DType::kF32, {rows, count + 1}).Slice(1, 1, count + 1),
                            test.From(bits).Reshape({rows, 2}), out});
  drawn.ids = test.ReadInts(out);
  return drawn;
}

// Sums of small integers are exact in any order, and so is the answer.
TEST_CASE("categorical: rows of all lengths, exactly") {
  ForEachDevice([](OpTest& test) {
    for (const int64_t count : {1, 2, 31, 129, 1000, 1024, 1025, 4097, 70001}) {
      const int64_t rows = count > 4097 ? 5 : 40;
      std::vector<float> values = RandomNormal(rows * count, count);
      for (float& value : values) value = std::floor(std::max(0.0f, value * 4));                // half of them 0
      for (int64_t row = 0; row < rows; ++row) values[row * count + (row * 7919) % count] = 3;  // none without any
      const Drawn drawn = DrawRows(test, values, rows, count);
      for (int64_t row = 0; row < rows; ++row) {
        const float* const p = &values[row * count];
        const double total = std::accumulate(p, p + count, 0.0);
        int32_t expected = 0;
        for (double sum = p[0]; sum <= drawn.u[row] * total; sum += p[++expected]) {
        }
        CAPTURE(count);
        CAPTURE(row);
        CHECK(drawn.ids[row] == expected);
      }
    }
  });
}

// Each running sum is off by at most count roundings of 2^-53 of it. In wide rows weights differ by 10^60.
TEST_CASE("categorical: where sums round, within their roundings, and never what has no probability") {
  ForEachDevice([](OpTest& test) {
    for (const float width : {1.0f, 15.0f}) {
      const int64_t rows = test.slow() ? 100 : 400, count = 3000;
      std::vector<float> values = RandomNormal(rows * count, 17, width);
      for (size_t i = 0; i < values.size(); ++i) values[i] = i % 3 == 1 ? 0 : std::exp(values[i]);
      const Drawn drawn = DrawRows(test, values, rows, 5);
      for (int64_t row = 0; row < rows; ++row) {
        const float* const p = &values[row * count];
        const int32_t id = drawn.ids[row];
        REQUIRE(id >= 0);
        REQUIRE(id < count);
        CHECK(p[id] > 0);
        const double before = std::accumulate(p, p + id, 0.0), total = std::accumulate(p, p + count, 0.0);
        const double target = drawn.u[row] * total, slack = 2 * count * 0x1p-53 * total;
        CHECK(before <= target + slack);
        CHECK(before + p[id] >= target - slack);
      }
    }
  });
}

// With the largest u the target lies within a rounding or two of the sum: what is added up in another order may end
// below it.
TEST_CASE("categorical: the largest u finds something") {
  ForEachDevice([](OpTest& test) {
    for (int64_t count = 1030; count < (test.slow() ? 1060 : 1200); ++count) {
      std::vector<float> row = RandomNormal(count, count);
      for (float& value : row) value = std::abs(value);
      for (int64_t i = 1; i <= count % 7; ++i) row[count - i] = 0;
      CHECK(DrawAt(test, row, 0xffffffff) == count - 1 - count % 7);
    }
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

TEST_CASE("categorical: random bits by counters, of which round and index may stand on the device") {
  ForEachDevice([](OpTest& test) {
    constexpr int64_t kRows = 3, kVocab = 1500;
    std::vector<float> rows = RandomNormal(kRows * kVocab, 1);
    for (float& weight : rows) weight = std::max(weight, 0.0f);
    const TensorView p = test.From(rows, DType::kF32, {kRows, kVocab});
    const TensorView out = test.New(DType::kI32, {kRows});
    const TensorView base = test.From(std::vector<int64_t>{0, 0});
    constexpr uint64_t kSeed = 0x123456789abcdef;
    const RandomCounter first{.sequence = 2, .round = 3, .level = 1, .index = 4};
    const auto queue = [&] {
      Categorical(test.lane(),
                  {.probabilities = p, .random_bits = {}, .out = out, .seed = kSeed, .first = first, .base = base});
    };
    std::vector<std::function<void()>> changes;
    for (const auto& [round, index] : {std::pair{0, 0}, {7, 0}, {100, 9}}) {
      std::vector<int32_t> bits;
      for (int64_t row = 0; row < kRows; ++row) {
        RandomCounter counter = first;
        counter.round += round;
        counter.index = static_cast<uint16_t>(counter.index + index + row);
        const uint64_t random = RandomBits(kSeed, counter);
        bits.push_back(static_cast<int32_t>(random));
        bits.push_back(static_cast<int32_t>(random >> 32));
      }
      Categorical(test.lane(), {p, test.From(bits).Reshape({kRows, 2}), out});
      const std::vector<int32_t> expected = test.ReadInts(out);
      test.Write(std::vector<int64_t>{round, index}, base);
      queue();
      CHECK(test.ReadInts(out) == expected);
      changes.push_back([&test, base, at = std::vector<int64_t>{round, index}] { test.Write(at, base); });
    }
    CheckReplays(test, queue, changes, [&] {
      std::vector<float> drawn;
      for (const int32_t i : test.ReadInts(out)) drawn.push_back(static_cast<float>(i));
      return drawn;
    });
    const TensorView none = test.New(DType::kF32, {1, 4});
    Categorical(test.lane(), {.probabilities = none, .random_bits = {}, .out = out.Slice(0, 0, 1), .without = 2});
    CHECK(test.ReadInts(out)[0] == 2);
  });
}

}  // namespace
}  // namespace triforce
