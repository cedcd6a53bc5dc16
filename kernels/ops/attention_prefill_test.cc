// AttentionPrefill against its reference. What it has in common with decoding stands in attention_test.cc.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <span>
#include <vector>

#include "kernels/ops/attention.h"
#include "kernels/ops/kv_append.h"
#include "kernels/ops/op_testing.h"

namespace triforce {
namespace {

struct Case {
  DType dtype;
  int64_t heads;
  int64_t kv_heads;
  int64_t head_dim;
};

// A KV of whole blocks that holds nothing but NaN.
KvView EmptyKv(OpTest& test, const Case& c, int64_t capacity) {
  const KvView kv{test.New(c.dtype, {KvBlocks(capacity) * c.kv_heads, 2, kKvBlock * c.head_dim}), c.kv_heads};
  std::memset(kv.blocks.data(), 0xff, kv.blocks.bytes());
  return kv;
}

// One whose first `tokens` positions are filled at random. No row may see more.
KvView RandomKv(OpTest& test, const Case& c, int64_t tokens, int64_t capacity) {
  const KvView kv = EmptyKv(test, c, capacity);
  KvAppend(test.lane(), {test.Random(DType::kF32, {tokens, c.kv_heads, c.head_dim}, 1),
                         test.Random(DType::kF32, {tokens, c.kv_heads, c.head_dim}, 2), 0, kv});
  test.lane().Synchronize();
  return kv;
}

// Queries whose products with log2(e) * Scale(c) are values of the KV's type, so that rounding to it changes nothing.
TensorView ExactQueries(OpTest& test, const Case& c, int64_t rows, uint64_t seed) {
  const std::vector<float> values = test.Read(test.Random(c.dtype, {rows, c.heads, c.head_dim}, seed));
  return test.From(values, DType::kF32, {rows, c.heads, c.head_dim});
}

// A power of 2 times log(2), so that scores are of a size of about 3: few keys have most of the weight, and none is
// missed without notice.
float Scale(const Case& c) {
  const double wanted = 3 / std::sqrt(static_cast<double>(c.head_dim)) / std::log(2.0);
  return static_cast<float>(std::log(2.0) * std::exp2(std::round(std::log2(wanted))));
}

std::vector<float> Prefill(OpTest& test, const AttentionArgs& args) {
  const TensorView out = test.New(DType::kF32, {args.rows(), args.heads(), args.kv.head_dim()});
  AttentionPrefill(test.lane(), args, out);
  return test.Read(out);
}

std::vector<float> Reference(OpTest& test, const AttentionArgs& args) {
  const TensorView out = test.New(DType::kF32, {args.rows(), args.heads(), args.kv.head_dim()});
  AttentionReference(args, out);
  return test.Read(out);
}

// With exact queries: scores are sums in f32 of head_dim products, about 12 at most, so weights are off by 12 *
// (head_dim + 64) * 2^-24 of themselves; on CUDA they are rounded, too. The output is their mean of values below 5, so
// off by 5 times that, and the mean itself by as much where its sum of weights is off.
double Tolerance(OpTest& test, const Case& c) {
  return 5 * test.OperandEpsilon(c.dtype) + 2 * 5 * 12 * (static_cast<double>(c.head_dim) + 64) * 0x1p-24;
}

void CheckPrefill(OpTest& test, const Case& c, const AttentionArgs& args) {
  CAPTURE(args.kv.blocks.ToString());
  CAPTURE(args.q.ToString());
  CAPTURE(args.visible);
  CAPTURE(args.causal);
  CHECK(MaxDifference(Prefill(test, args), Reference(test, args)) <= Tolerance(test, c));
}

const std::vector<Case> kCases = {
    {DType::kF16, 4, 2, 64}, {DType::kBF16, 2, 1, 128}, {DType::kF16, 4, 1, 128}, {DType::kBF16, 2, 2, 64},
    {DType::kF32, 3, 1, 16}, {DType::kF16, 2, 1, 100},  {DType::kBF16, 2, 1, 32}, {DType::kF32, 1, 1, 256},
};

struct Extent {
  int64_t visible;
  int64_t rows;
  bool causal;
};

// Around tiles of 8 keys, steps of 32 and 64, blocks of 512; tiles of 16 rows, warps of 32, blocks of 128.
const std::vector<Extent> kExtents = {
    {1, 1, false},  {7, 2, false}, {9, 17, false}, {64, 65, false}, {65, 1, false},  {512, 1, false}, {513, 2, false},
    {1, 130, true}, {8, 16, true}, {30, 40, true}, {63, 3, true},   {100, 33, true}, {503, 12, true}, {120, 129, true},
};

TEST_CASE("prefill equals its reference: types, heads, lengths around tiles, steps and blocks") {
  ForEachDevice([](OpTest& test) {
    for (const Case& c : kCases) {
      for (const Extent& e : kExtents) {
        const int64_t tokens = e.visible + (e.causal ? e.rows - 1 : 0);
        const KvView kv = RandomKv(test, c, tokens, tokens);
        CheckPrefill(test, c, {ExactQueries(test, c, e.rows, 3), kv, e.visible, e.causal, Scale(c)});
      }
    }
  });
}

TEST_CASE("prefill: a KV of many blocks, more than is used; heads that go by turns") {
  ForEachDevice([](OpTest& test) {
    // The KV of two kv_heads is about as much as blocks are to share: the third is alone.
    const Case wide{DType::kF32, 3, 3, 256};
    const KvView kv = RandomKv(test, wide, 2600, 3100);
    CheckPrefill(test, wide, {ExactQueries(test, wide, 17, 3), kv, 2584, true, Scale(wide)});
    const Case c{DType::kF16, 6, 3, 64};
    const KvView longer = RandomKv(test, c, 3003, 5000);
    CheckPrefill(test, c, {ExactQueries(test, c, 3, 3), longer, 3001, true, Scale(c)});
  });
}

TEST_CASE("prefill: rows of queries and of outputs that are not dense, at any place") {
  ForEachDevice([](OpTest& test) {
    for (const Case& c : {kCases[0], kCases[1], kCases[4]}) {
      const int64_t rows = 19, width = c.heads * c.head_dim;
      const std::vector<float> q = test.Read(ExactQueries(test, c, rows, 3));
      const TensorView all = test.Random(DType::kF32, {rows, width + 7}, 4);
      const TensorView out = test.Random(DType::kF32, {rows, width + 9}, 5);
      const std::vector<float> before = test.Read(out);
      for (int64_t row = 0; row < rows; ++row) {
        std::copy_n(q.data() + row * width, width, all.as<float>() + row * (width + 7) + 3);
      }
      const AttentionArgs args{all.Slice(1, 3, 3 + width).SplitRows(c.heads, c.head_dim), RandomKv(test, c, 80, 80),
                               80 - rows, true, Scale(c)};
      const TensorView inner = out.Slice(1, 5, 5 + width).SplitRows(c.heads, c.head_dim);
      AttentionPrefill(test.lane(), args, inner);
      CHECK(MaxDifference(test.Read(inner), Reference(test, args)) <= Tolerance(test, c));
      const std::vector<float> after = test.Read(out);
      for (int64_t i = 0; i < rows * (width + 9); ++i) {
        const int64_t column = i % (width + 9);
        if (column < 5 || column >= 5 + width) CHECK(after[i] == before[i]);
      }
    }
  });
}

TEST_CASE("prefill: any queries, any scale") {
  ForEachDevice([](OpTest& test) {
    for (const Case& c : kCases) {
      for (const float scale : {1 / std::sqrt(static_cast<float>(c.head_dim)), -0.2f}) {
        const AttentionArgs args{test.Random(DType::kF32, {21, c.heads, c.head_dim}, 3), RandomKv(test, c, 90, 90), 70,
                                 true, scale};
        // Queries are rounded, each element by OperandEpsilon at most of itself, in either direction: a score by less
        // than 4 times the norm of its terms, which is below 1.5 * scale * sqrt(head_dim), and a weight by that of
        // itself.
        const double score =
            4 * 1.5 * std::abs(scale) * std::sqrt(static_cast<double>(c.head_dim)) * test.OperandEpsilon(c.dtype);
        CHECK(MaxDifference(Prefill(test, args), Reference(test, args)) <= Tolerance(test, c) + 5 * score);
      }
    }
  });
}

// Scores that are `slope` times the position, plus 0, exactly: of elements that are 0 but for one.
TEST_CASE("prefill: scores that rise or fall all along, slowly or by far") {
  ForEachDevice([](OpTest& test) {
    for (const Case& c : {Case{DType::kF16, 1, 1, 64}, Case{DType::kBF16, 1, 1, 128}, Case{DType::kF32, 1, 1, 20}}) {
      for (const float slope : {0.125f, 0.25f, -0.25f, 1.0f, -1.0f, 64.0f}) {
        const int64_t tokens = 250, rows = 20;
        std::vector<float> keys(tokens * c.head_dim), queries(rows * c.head_dim);
        for (int64_t i = 0; i < tokens; ++i) keys[i * c.head_dim + c.head_dim - 1] = slope * static_cast<float>(i);
        for (int64_t i = 0; i < rows; ++i) queries[(i + 1) * c.head_dim - 1] = 1;
        const KvView kv = EmptyKv(test, c, tokens);
        KvAppend(test.lane(), {test.From(keys, DType::kF32, {tokens, 1, c.head_dim}),
                               test.Random(DType::kF32, {tokens, 1, c.head_dim}, 2), 0, kv});
        test.lane().Synchronize();
        CAPTURE(slope);
        CheckPrefill(test, c,
                     {test.From(queries, DType::kF32, {rows, 1, c.head_dim}), kv, tokens - rows + 1, true,
                      static_cast<float>(std::log(2.0))});
      }
    }
  });
}

TEST_CASE("prefill: a row's bits do not depend on the rows around it") {
  ForEachDevice([](OpTest& test) {
    // On the simulator two heads of more than 128 rows are many blocks, two of fewer are few.
    for (const Case& c : {Case{DType::kF16, 2, 1, 64}, Case{DType::kF16, 2, 1, 128}, Case{DType::kBF16, 2, 2, 128},
                          Case{DType::kF32, 2, 1, 40}}) {
      for (const bool causal : {true, false}) {
        const int64_t rows = 200, before = 50;
        const KvView kv = RandomKv(test, c, before + rows, before + rows);
        const TensorView q = test.Random(DType::kF32, {rows, c.heads, c.head_dim}, 3);
        const auto run = [&](int64_t first, int64_t end) {
          return Prefill(test, {q.Slice(0, first, end), kv, before + (causal ? first : 0), causal, Scale(c)});
        };
        const std::vector<float> whole = run(0, rows);
        const int64_t width = c.heads * c.head_dim;
        for (const Extent& part :
             {Extent{0, 65}, {1, 66}, {64, 129}, {13, 142}, {100, 200}, {0, 1}, {77, 80}, {199, 200}}) {
          const std::vector<float> some = run(part.visible, part.rows);
          CAPTURE(kv.blocks.ToString());
          CAPTURE(causal);
          CAPTURE(part.visible);
          CAPTURE(part.rows);
          CHECK(std::memcmp(some.data(), &whole[part.visible * width], some.size() * sizeof(float)) == 0);
        }
      }
    }
  });
}

TEST_CASE("prefill: a row's bits do not depend on the number of rows") {
  ForEachDevice([](OpTest& test) {
    for (const Case& c : {Case{DType::kF16, 2, 1, 64}, Case{DType::kF32, 2, 1, 20}}) {
      const KvView kv = RandomKv(test, c, 40, 40);
      const TensorView q = test.Random(DType::kF32, {512, c.heads, c.head_dim}, 3);
      CheckRowInvariance(test, [&](int64_t first, int64_t rows) {
        return Prefill(test, {q.Slice(0, first, first + rows), kv, 40, false, Scale(c)});
      });
    }
  });
}

TEST_CASE("prefill: what a row does not see may be anything") {
  ForEachDevice([](OpTest& test) {
    for (const Case& c : {Case{DType::kF16, 1, 1, 64}, Case{DType::kBF16, 1, 1, 128}, Case{DType::kF32, 1, 1, 20}}) {
      const int64_t rows = 140, tokens = 160;
      // Puts infinities and NaN into the key, or the value, that rows see from `row` on: those before `same` keep
      // their bits.
      const auto check = [&](bool key, int64_t row, int64_t same) {
        const KvView kv = RandomKv(test, c, tokens, tokens);
        const AttentionArgs args{ExactQueries(test, c, rows, 3), kv, tokens - rows + 1, true, Scale(c)};
        const std::vector<float> plain = Prefill(test, args);
        const int64_t position = args.visible + row - 1;
        WithFloatType(c.dtype, [&]<typename T>(T) {
          T* const tile = KeyTileAt<T>(kv, 0, position);
          T* const value = ValueAt<T>(kv, 0, position);
          for (int64_t i = 0; i < c.head_dim; ++i) {
            (key ? tile[KeyElement(position, i)] : value[i]) = FromF32<T>(i % 2 == 0 ? INFINITY : NAN);
          }
        });
        const std::vector<float> poisoned = Prefill(test, args);
        CAPTURE(kv.blocks.ToString());
        CAPTURE(key);
        CHECK(std::memcmp(plain.data(), poisoned.data(), same * c.head_dim * sizeof(float)) == 0);
        CHECK(poisoned[row * c.head_dim] != plain[row * c.head_dim]);
      };
      check(true, 90, 90);
      // A value that is not finite may reach the rows that are at work together: on tensor cores a block's 128.
      if (test.cuda()) check(false, 130, c.dtype == DType::kF32 ? 130 : 128);
    }
  });
}

TEST_CASE("prefill: a row that sees nothing gives zero") {
  ForEachDevice([](OpTest& test) {
    for (const Case& c : {kCases[0], kCases[1], kCases[4]}) {
      for (const bool causal : {true, false}) {
        const int64_t rows = 35, width = c.heads * c.head_dim;
        const AttentionArgs args{ExactQueries(test, c, rows, 3), RandomKv(test, c, rows - 1, rows), 0, causal,
                                 Scale(c)};
        const std::vector<float> out = Prefill(test, args);
        CHECK(std::all_of(out.begin(), out.begin() + (causal ? width : rows * width), [](float v) { return v == 0; }));
        CHECK(MaxDifference(out, Reference(test, args)) <= Tolerance(test, c));
      }
    }
  });
}

// More blocks than a GPU has multiprocessors.
TEST_CASE("prefill: thousands of rows") {
  ForEachDevice([](OpTest& test) {
    if (!test.cuda() || test.simulated()) return;
    for (const Case& c : {Case{DType::kF16, 8, 2, 128}, Case{DType::kBF16, 8, 4, 64}}) {
      const int64_t rows = 2500, width = c.heads * c.head_dim;
      const KvView kv = RandomKv(test, c, rows + 9, rows + 9);
      const TensorView q = ExactQueries(test, c, rows, 3);
      const std::vector<float> whole = Prefill(test, {q, kv, 10, true, Scale(c)});
      for (int64_t first = 0; first < rows; first += 97) {
        const int64_t end = std::min(first + 3, rows);
        const AttentionArgs part{q.Slice(0, first, end), kv, 10 + first, true, Scale(c)};
        const std::span<const float> some(&whole[first * width], (end - first) * width);
        CAPTURE(first);
        CHECK(MaxDifference(some, Reference(test, part)) <= Tolerance(test, c));
        const std::vector<float> alone = Prefill(test, part);
        CHECK(std::memcmp(alone.data(), some.data(), alone.size() * sizeof(float)) == 0);
      }
    }
  });
}

}  // namespace
}  // namespace triforce
