#include "kernels/ops/attention.h"

#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <vector>

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

const std::vector<Case> kCases = {
    {DType::kF16, 4, 4, 64},  {DType::kBF16, 4, 2, 32}, {DType::kF32, 3, 1, 16},
    {DType::kF16, 8, 1, 128}, {DType::kF32, 2, 2, 100}, {DType::kF16, 2, 1, 8},
};

KvView NewKv(OpTest& test, const Case& c, int64_t capacity) {
  return {test.New(c.dtype, {c.kv_heads, capacity / kKeyTile, c.head_dim * kKeyTile}),
          test.New(c.dtype, {c.kv_heads, capacity, c.head_dim})};
}

// A KV whose `tokens` first positions are filled through kv_append and whose others are poison: what no row may see.
KvView RandomKv(OpTest& test, const Case& c, int64_t tokens, int64_t capacity) {
  const KvView kv = NewKv(test, c, capacity);
  const auto append = [&](int64_t first, int64_t count, float scale) {
    if (count == 0) return;
    KvAppend(test.lane(), {test.Random(DType::kF32, {count, c.kv_heads, c.head_dim}, first + 1, scale),
                           test.Random(DType::kF32, {count, c.kv_heads, c.head_dim}, first + 2, scale), first, kv});
    test.lane().Synchronize();
  };
  append(0, tokens, 1.0f);
  append(tokens, capacity - tokens, 1e4f);
  return kv;
}

AttentionPartials NewPartials(OpTest& test, const AttentionArgs& args) {
  const int64_t blocks = KvBlocks(args.VisibleTo(args.rows() - 1));
  return {test.New(DType::kF32, {blocks, args.rows(), args.heads(), args.kv.head_dim()}),
          test.New(DType::kF32, {blocks, args.rows(), args.heads()}),
          test.New(DType::kF32, {blocks, args.rows(), args.heads()})};
}

std::vector<float> Decode(OpTest& test, const AttentionArgs& args) {
  const AttentionPartials partials = NewPartials(test, args);
  const TensorView out = test.New(DType::kF32, {args.rows(), args.heads(), args.kv.head_dim()});
  AttentionPartial(test.lane(), args, partials);
  AttentionMerge(test.lane(), partials, out);
  return test.Read(out);
}

std::vector<float> Prefill(OpTest& test, const AttentionArgs& args) {
  const TensorView out = test.New(DType::kF32, {args.rows(), args.heads(), args.kv.head_dim()});
  AttentionPrefill(test.lane(), args, out);
  return test.Read(out);
}

// Scores are sums of head_dim products of normal values, scaled to about 1: their rounding error, and so the relative
// error of each weight, is below 4 * head_dim * 2^-24; the weighted mean of normal values is below 4, its own sum of up
// to a few thousand terms adds as many roundings of terms that shrink with their number.
double Tolerance(const Case& c) { return 4 * 4 * (static_cast<double>(c.head_dim) + 64) * 0x1p-24; }

TEST_CASE("attention equals its reference: types, heads, lengths around tiles, steps and blocks") {
  ForEachDevice([](OpTest& test) {
    for (const Case& c : kCases) {
      const KvView kv = RandomKv(test, c, 1310, 1536);
      for (int64_t visible : {1, 7, 8, 9, 64, 65, 511, 512, 513, 1300}) {
        for (int64_t rows : {1, 3, 8}) {
          for (bool causal : {false, true}) {
            AttentionArgs args{.q = test.Random(DType::kF32, {rows, c.heads, c.head_dim}, 5),
                               .kv = kv,
                               .visible = visible,
                               .causal = causal,
                               .scale = 1 / std::sqrt(static_cast<float>(c.head_dim))};
            const TensorView expected = test.New(DType::kF32, {rows, c.heads, c.head_dim});
            AttentionReference(args, expected);
            CAPTURE(args.kv.values.ToString());
            CAPTURE(visible);
            CAPTURE(rows);
            CAPTURE(causal);
            const std::vector<float> decoded = Decode(test, args);
            CHECK(MaxDifference(decoded, test.Read(expected)) <= Tolerance(c));
            const std::vector<float> prefilled = Prefill(test, args);
            CHECK(std::memcmp(decoded.data(), prefilled.data(), decoded.size() * sizeof(float)) == 0);
          }
        }
      }
    }
  });
}

TEST_CASE("attention: a row's bits do not depend on the rows around it") {
  ForEachDevice([](OpTest& test) {
    for (const Case& c : {kCases[0], kCases[1], kCases[3]}) {
      const KvView kv = RandomKv(test, c, 620, 1024);
      const TensorView q = test.Random(DType::kF32, {512, c.heads, c.head_dim}, 3);
      const auto args = [&](int64_t first, int64_t rows) {
        return AttentionArgs{q.Slice(0, first, first + rows), kv, 100 + first, true, 0.1f};
      };
      CheckRowInvariance([&](int64_t first, int64_t rows) { return Prefill(test, args(first, rows)); });
      const TensorView out = test.New(DType::kF32, {512, c.heads, c.head_dim});
      const AttentionPartials all = NewPartials(test, args(0, 512));
      CheckRowInvariance([&](int64_t first, int64_t rows) {
        const AttentionArgs a = args(first, rows);
        const int64_t blocks = KvBlocks(a.VisibleTo(rows - 1));
        const auto reuse = [&](const TensorView& t, std::initializer_list<int64_t> shape) {
          return TensorView(t.device(), t.data(), DType::kF32, shape);
        };
        const AttentionPartials partials{reuse(all.out, {blocks, rows, c.heads, c.head_dim}),
                                         reuse(all.max, {blocks, rows, c.heads}),
                                         reuse(all.sum, {blocks, rows, c.heads})};
        AttentionPartial(test.lane(), a, partials);
        AttentionMerge(test.lane(), partials, out.Slice(0, 0, rows));
        return test.Read(out.Slice(0, 0, rows));
      });
    }
  });
}

TEST_CASE("attention: bits do not depend on where the KV lies, cut at any block") {
  ForEachDevice([](OpTest& test) {
    const Case c{DType::kF16, 4, 2, 64};
    const int64_t tokens = 1900;
    const KvView kv = RandomKv(test, c, tokens, 2048);
    const TensorView q = test.Random(DType::kF32, {5, c.heads, c.head_dim}, 3);
    const AttentionArgs args{q, kv, tokens, false, 0.125f};
    const std::vector<float> whole = Decode(test, args);
    for (int64_t cut_blocks : {1, 2, 3}) {
      const int64_t cut = cut_blocks * kKvBlock;
      // The second part lies elsewhere: a copy of its own, as a slot of a ring would be.
      KvView front{kv.keys.Slice(1, 0, cut / kKeyTile), kv.values.Slice(1, 0, cut)};
      const KvView back{
          test.From(test.Read(kv.keys.Slice(1, cut / kKeyTile, kv.keys.dim(1))), c.dtype,
                    {c.kv_heads, (2048 - cut) / kKeyTile, c.head_dim * kKeyTile}),
          test.From(test.Read(kv.values.Slice(1, cut, 2048)), c.dtype, {c.kv_heads, 2048 - cut, c.head_dim})};
      const AttentionPartials partials = NewPartials(test, args);
      const auto blocks = [&](int64_t begin, int64_t end) {
        return AttentionPartials{partials.out.Slice(0, begin, end), partials.max.Slice(0, begin, end),
                                 partials.sum.Slice(0, begin, end)};
      };
      AttentionPartial(test.lane(), {q, back, tokens - cut, false, 0.125f}, blocks(cut_blocks, 4));  // arrives first
      AttentionPartial(test.lane(), {q, front, cut, false, 0.125f}, blocks(0, cut_blocks));
      const TensorView out = test.New(DType::kF32, {5, c.heads, c.head_dim});
      AttentionMerge(test.lane(), partials, out);
      const std::vector<float> cut_result = test.Read(out);
      CHECK(std::memcmp(cut_result.data(), whole.data(), whole.size() * sizeof(float)) == 0);
    }
  });
}

TEST_CASE("attention: a row that sees nothing gives zero, and its partials are empty") {
  ForEachDevice([](OpTest& test) {
    const Case c{DType::kF32, 2, 1, 16};
    const KvView kv = RandomKv(test, c, 8, 512);
    const AttentionArgs args{test.Random(DType::kF32, {3, 2, 16}, 1), kv, 0, true, 1.0f};
    const std::vector<float> out = Decode(test, args);
    for (int64_t i = 0; i < 2 * 16; ++i) CHECK(out[i] == 0);
    CHECK(out[2 * 16] != 0);
  });
}

TEST_CASE("attention: scores far apart neither overflow nor underflow to nonsense") {
  ForEachDevice([](OpTest& test) {
    const Case c{DType::kF16, 1, 1, 16};
    const KvView kv = RandomKv(test, c, 600, 1024);
    const AttentionArgs args{test.Random(DType::kF32, {2, 1, 16}, 1, 300.0f), kv, 600, false, 1.0f};
    const TensorView expected = test.New(DType::kF32, {2, 1, 16});
    AttentionReference(args, expected);
    // Scores reach 4,000, where a rounding of 2^-13 shifts a weight by that much.
    CHECK(MaxDifference(Decode(test, args), test.Read(expected)) <= 16 * 0x1p-11);
  });
}

}  // namespace
}  // namespace triforce
