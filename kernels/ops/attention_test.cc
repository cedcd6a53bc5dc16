#include "kernels/ops/attention.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
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
    {DType::kF16, 4, 4, 64},  {DType::kBF16, 4, 2, 32}, {DType::kF32, 3, 1, 16},  {DType::kF16, 8, 1, 128},
    {DType::kF32, 2, 2, 100}, {DType::kF16, 2, 1, 8},   {DType::kBF16, 3, 1, 64}, {DType::kBF16, 2, 2, 128},
};

// Not all lengths and rows on the simulator, which has a thread of each block in turn.
bool Few(OpTest& test, int64_t visible, int64_t rows) {
  return !test.slow() || (rows != 3 && visible != 7 && visible != 64 && visible != 512);
}

KvView NewKv(OpTest& test, const Case& c, int64_t capacity) {
  return {test.New(c.dtype, {KvBlocks(capacity) * c.kv_heads, 2, kKvBlock * c.head_dim}), c.kv_heads};
}

// A KV whose `tokens` first positions are filled as by kv_append and whose others are poison: what no row may see.
KvView RandomKv(OpTest& test, const Case& c, int64_t tokens, int64_t capacity) {
  const KvView kv = NewKv(test, c, capacity);
  const auto append = [&](int64_t first, int64_t count, float scale) {
    if (count == 0) return;
    KvAppendReference({test.Random(DType::kF32, {count, c.kv_heads, c.head_dim}, first + 1, scale),
                       test.Random(DType::kF32, {count, c.kv_heads, c.head_dim}, first + 2, scale), first, kv});
  };
  append(0, tokens, 1.0f);
  append(tokens, capacity - tokens, std::numeric_limits<float>::infinity());
  return kv;
}

// Partials and state in memory for `rows` rows and `entries` entries; each row's result does not depend on how much.
struct Memory {
  Memory(OpTest& test, const AttentionArgs& args)
      : entries(args.kv.entries()),
        partials(test.New(DType::kF32, {entries * args.rows() * args.group() * (args.kv.head_dim() + 2)})),
        out(test.New(DType::kF32, {args.rows(), args.heads(), args.kv.head_dim()})),
        state(test.New(DType::kF32, {2 * args.rows() * args.heads()})) {}

  AttentionPartials Partials(const AttentionArgs& args) const {
    const int64_t n = args.kv.entries() * args.rows() * args.group(), head_dim = args.kv.head_dim();
    return {partials.Slice(0, 0, n * head_dim).Reshape({args.kv.entries(), args.rows(), args.group(), head_dim}),
            partials.Slice(0, n * head_dim, n * (head_dim + 1)).Reshape({args.kv.entries(), args.rows(), args.group()}),
            partials.Slice(0, n * (head_dim + 1), n * (head_dim + 2))
                .Reshape({args.kv.entries(), args.rows(), args.group()})};
  }
  AttentionState State(const AttentionArgs& args) const {
    const int64_t n = args.rows() * args.heads();
    return {out.Slice(0, 0, args.rows()), state.Slice(0, 0, n).Reshape({args.rows(), args.heads()}),
            state.Slice(0, n, 2 * n).Reshape({args.rows(), args.heads()})};
  }

  int64_t entries;
  TensorView partials, out, state;
};

// One view of the KV: partials and their merge.
void Take(OpTest& test, const AttentionArgs& args, const Memory& memory, bool first, bool last) {
  AttentionPartial(test.lane(), args, memory.Partials(args));
  AttentionMerge(test.lane(),
                 {memory.Partials(args), args.kv.kv_heads, args.kv.first_entry, memory.State(args), first, last});
}

std::vector<float> Decode(OpTest& test, const AttentionArgs& args, const Memory& memory) {
  Take(test, args, memory, true, true);
  return test.Read(memory.State(args).out);
}

std::vector<float> Decode(OpTest& test, const AttentionArgs& args) { return Decode(test, args, Memory(test, args)); }

std::vector<float> Prefill(OpTest& test, const AttentionArgs& args) {
  const TensorView out = test.New(DType::kF32, {args.rows(), args.heads(), args.kv.head_dim()});
  AttentionPrefill(test.lane(), args, out);
  return test.Read(out);
}

// Query vectors that the KV's type holds exactly: CUDA rounds them to it.
TensorView Queries(OpTest& test, const Case& c, int64_t rows, uint64_t seed) {
  return test.From(test.Read(test.Random(c.dtype, {rows, c.heads, c.head_dim}, seed)), DType::kF32,
                   {rows, c.heads, c.head_dim});
}

// Scores are sums of head_dim products of normal values, scaled to about 1: their rounding error, and so the relative
// error of each weight, is below 4 * head_dim * 2^-24; the weighted mean of normal values is below 4, its own sum of up
// to a few thousand terms adds as many roundings of terms that shrink with their number.
// On CUDA the `visible` weights w are rounded as operands, each by a chance error of at most epsilon, 0.6 epsilon by
// deviation. Of scores with deviation 1, sum(w^2) / sum(w)^2 is e / visible, so the deviation of the result is below
// epsilon / sqrt(visible): of all outputs none is off by five of these.
double Tolerance(OpTest& test, const Case& c, int64_t visible) {
  return 4 * 4 * (static_cast<double>(c.head_dim) + 64) * 0x1p-24 +
         5 * test.OperandEpsilon(c.dtype) / std::sqrt(static_cast<double>(visible));
}

TEST_CASE("attention equals its reference: types, heads, lengths around tiles, steps and blocks") {
  ForEachDevice([](OpTest& test) {
    for (const Case& c : kCases) {
      const KvView kv = RandomKv(test, c, 1310, 1536);
      for (int64_t visible : {1, 7, 8, 9, 64, 65, 511, 512, 513, 1300}) {
        for (int64_t rows : {1, 3, 8}) {
          if (!Few(test, visible, rows)) continue;
          for (bool causal : {false, true}) {
            AttentionArgs args{.q = Queries(test, c, rows, 5),
                               .kv = kv,
                               .visible = visible,
                               .causal = causal,
                               .scale = 1 / std::sqrt(static_cast<float>(c.head_dim))};
            const TensorView expected = test.New(DType::kF32, {rows, c.heads, c.head_dim});
            AttentionReference(args, expected);
            CAPTURE(args.kv.blocks.ToString());
            CAPTURE(visible);
            CAPTURE(rows);
            CAPTURE(causal);
            const std::vector<float> decoded = Decode(test, args);
            CHECK(MaxDifference(decoded, test.Read(expected)) <= Tolerance(test, c, visible));
            if (test.cuda()) continue;
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
    for (Case c : {kCases[0], kCases[1], kCases[3], kCases[6]}) {
      if (test.slow()) c = {c.dtype, c.heads / c.kv_heads, 1, c.head_dim};
      const KvView kv = RandomKv(test, c, 620, 1024);
      const TensorView q = test.Random(DType::kF32, {512, c.heads, c.head_dim}, 3);
      const auto args = [&](int64_t first, int64_t rows) {
        return AttentionArgs{q.Slice(0, first, first + rows), kv, 100 + first, true, 0.1f};
      };
      if (!test.cuda()) {
        CheckRowInvariance(test, [&](int64_t first, int64_t rows) { return Prefill(test, args(first, rows)); });
      }
      const Memory memory(test, args(0, 512));
      CheckRowInvariance(test, [&](int64_t first, int64_t rows) { return Decode(test, args(first, rows), memory); });
    }
  });
}

TEST_CASE("attention: bits do not depend on where the KV lies, cut at any entry") {
  ForEachDevice([](OpTest& test) {
    const Case c{DType::kF16, 4, 2, 64};
    const int64_t tokens = test.slow() ? 1100 : 1900;
    const KvView kv = RandomKv(test, c, tokens, KvBlocks(tokens) * kKvBlock);
    const TensorView q = test.Random(DType::kF32, {5, c.heads, c.head_dim}, 3);
    const AttentionArgs args{q, kv, tokens - 4, true, 0.125f};
    const std::vector<float> whole = Decode(test, args);
    CHECK(MaxDifference(whole, whole) == 0);  // nothing that is not finite
    const Memory memory(test, args);
    for (int64_t cut = 1; cut < kv.entries(); ++cut) {
      for (int64_t end : {cut, std::min(cut + 2, kv.entries())}) {
        // The middle part lies elsewhere: a copy of its own, as a slot of a ring would be.
        const int64_t elements = kv.blocks.stride(0);
        const KvView slot{test.From(test.Read(kv.blocks.Slice(0, cut, end)), c.dtype, {end - cut, 2, elements / 2}),
                          c.kv_heads, cut};
        AttentionArgs part = args;
        part.kv = kv.Slice(0, cut);
        Take(test, part, memory, true, false);
        part.kv = slot;
        if (end > cut) Take(test, part, memory, false, end == kv.entries());
        part.kv = kv.Slice(end, kv.entries());
        if (end < kv.entries()) Take(test, part, memory, false, true);
        CAPTURE(cut);
        CAPTURE(end);
        const std::vector<float> result = test.Read(memory.State(args).out);
        CHECK(std::memcmp(result.data(), whole.data(), whole.size() * sizeof(float)) == 0);
      }
    }
  });
}

TEST_CASE("attention: a row that sees nothing gives zero, and its partials are empty") {
  ForEachDevice([](OpTest& test) {
    for (const Case& c : {Case{DType::kF32, 2, 1, 16}, Case{DType::kF16, 2, 1, 64}}) {
      const KvView kv = RandomKv(test, c, 20, 1024);
      const AttentionArgs args{test.Random(DType::kF32, {18, 2, c.head_dim}, 1), kv, 0, true, 1.0f};
      const Memory memory(test, args);
      const std::vector<float> out = Decode(test, args, memory);
      for (int64_t i = 0; i < 2 * c.head_dim; ++i) CHECK(out[i] == 0);
      CHECK(out[2 * c.head_dim] != 0);
      const AttentionPartials partials = memory.Partials(args);
      const std::vector<float> all = test.Read(partials.out), max = test.Read(partials.max),
                               sum = test.Read(partials.sum);
      for (int64_t n = 0; n < 2 * 18 * 2; ++n) {  // [entries, rows, group]
        const bool empty = n < 2 || n >= 18 * 2;
        CHECK((max[n] == -std::numeric_limits<float>::infinity()) == empty);
        CHECK((sum[n] == 0) == empty);
        for (int64_t i = 0; i < c.head_dim; ++i) CHECK((all[n * c.head_dim + i] == 0) == empty);
      }
    }
  });
}

TEST_CASE("attention: partials are what they say, block by block") {
  ForEachDevice([](OpTest& test) {
    for (const Case& c : {Case{DType::kF32, 2, 1, 16}, Case{DType::kF16, 4, 2, 64}, Case{DType::kBF16, 2, 1, 128}}) {
      const KvView kv = RandomKv(test, c, 700, 1024);
      const int64_t rows = 2;
      const AttentionArgs args{Queries(test, c, rows, 7), kv, 700 - rows, true, 0.2f};
      const Memory memory(test, args);
      const AttentionPartials partials = memory.Partials(args);
      AttentionPartial(test.lane(), args, partials);
      const std::vector<float> all = test.Read(partials.out), max = test.Read(partials.max),
                               sum = test.Read(partials.sum);
      for (int64_t n = 0; n < kv.entries() * rows * args.group(); ++n) {
        const int64_t entry = n / args.group() / rows, row = n / args.group() % rows;
        // The same block alone: its keys are all that there are.
        AttentionArgs alone = args;
        alone.q = args.q.Slice(0, row, row + 1);
        alone.causal = false;
        alone.visible = std::min(args.VisibleTo(row) - kv.BlockOf(entry) * kKvBlock, kKvBlock);
        const int64_t block = kv.BlockOf(entry) * kv.kv_heads;
        alone.kv = {kv.blocks.Slice(0, block, block + kv.kv_heads), kv.kv_heads};
        const TensorView expected = test.New(DType::kF32, {1, c.heads, c.head_dim});
        AttentionReference(alone, expected);
        const int64_t head = kv.HeadOf(entry) * args.group() + n % args.group();
        double most = -std::numeric_limits<double>::infinity(), total = 0;
        for (const bool second : {false, true}) {
          for (int64_t key = 0; key < alone.visible; ++key) {
            double score = 0;
            WithFloatType(c.dtype, [&]<typename T>(T) {
              const T* const tile = KeyTileAt<T>(alone.kv, kv.HeadOf(entry), key);
              for (int64_t i = 0; i < c.head_dim; ++i) {
                score +=
                    alone.q.as<float>()[head * c.head_dim + i] * static_cast<double>(ToF32(tile[KeyElement(key, i)]));
              }
            });
            score *= args.scale;
            second ? void(total += std::exp(score - most)) : void(most = std::max(most, score));
          }
        }
        CAPTURE(n);
        // Scores are below 20, and rounded as in Tolerance.
        CHECK(max[n] == doctest::Approx(most).epsilon(1e-5));
        CHECK(sum[n] == doctest::Approx(total).epsilon(1e-4));
        std::vector<float> mean(all.begin() + n * c.head_dim, all.begin() + (n + 1) * c.head_dim);
        for (float& value : mean) value /= sum[n];
        const std::vector<float> wanted = test.Read(expected.Slice(1, head, head + 1));
        // Scores of greater deviation: fewer keys count.
        CHECK(MaxDifference(mean, wanted) <= 4 * Tolerance(test, c, alone.visible));
      }
    }
  });
}

TEST_CASE("attention: scores far apart neither overflow nor underflow to nonsense") {
  ForEachDevice([](OpTest& test) {
    for (const Case& c : {Case{DType::kF16, 1, 1, 16}, Case{DType::kF16, 1, 1, 64}, Case{DType::kBF16, 1, 1, 128}}) {
      const KvView kv = RandomKv(test, c, 600, 1024);
      const TensorView rough = test.Random(c.dtype, {2, 1, c.head_dim}, 1, 300.0f);
      const TensorView q = test.From(test.Read(rough), DType::kF32, {2, 1, c.head_dim});
      const AttentionArgs args{q, kv, 600, false, 4 / std::sqrt(static_cast<float>(c.head_dim))};
      const TensorView expected = test.New(DType::kF32, {2, 1, c.head_dim});
      AttentionReference(args, expected);
      // Scores reach 4,000, where a rounding of 2^-13 shifts a weight by that much.
      CHECK(MaxDifference(Decode(test, args), test.Read(expected)) <=
            16 * 0x1p-11 + 4 * (test.cuda() ? test.OperandEpsilon(c.dtype) : 0));
    }
  });
}

TEST_CASE("attention: scales below and at zero") {
  ForEachDevice([](OpTest& test) {
    for (const Case& c : {Case{DType::kF32, 1, 1, 16}, Case{DType::kF16, 2, 1, 64}}) {
      const KvView kv = RandomKv(test, c, 100, 512);
      for (const float scale : {-0.2f, 0.0f}) {
        const AttentionArgs args{Queries(test, c, 1, 5), kv, 100, false, scale};
        const TensorView expected = test.New(DType::kF32, {1, c.heads, c.head_dim});
        AttentionReference(args, expected);
        CAPTURE(scale);
        CHECK(MaxDifference(Decode(test, args), test.Read(expected)) <= 4 * Tolerance(test, c, 100));
      }
    }
  });
}

TEST_CASE("attention: query vectors that the KV's type does not hold are rounded to it, at most") {
  ForEachDevice([](OpTest& test) {
    for (const Case& c : {kCases[0], kCases[3], kCases[6]}) {
      const int64_t rows = 2, visible = 500;
      const KvView kv = RandomKv(test, c, visible, 512);
      // Rows apart, at a place that is aligned to a float alone.
      const TensorView wide = test.Random(DType::kF32, {rows, c.heads * c.head_dim + 3}, 5);
      const TensorView q = wide.Slice(1, 1, 1 + c.heads * c.head_dim).SplitRows(c.heads, c.head_dim);
      const AttentionArgs args{q, kv, visible, false, 1 / std::sqrt(static_cast<float>(c.head_dim))};
      const TensorView expected = test.New(DType::kF32, {rows, c.heads, c.head_dim});
      AttentionReference(args, expected);
      // Scores are off by a chance error as large as the weights' own.
      CHECK(MaxDifference(Decode(test, args), test.Read(expected)) <= 2 * Tolerance(test, c, visible));
    }
  });
}

TEST_CASE("attention merge: many blocks, far apart, some empty; its bits do not depend on cuts") {
  ForEachDevice([](OpTest& test) {
    const int64_t kv_heads = 2, group = 2, rows = 2, blocks = 160, head_dim = 40;
    const int64_t heads = kv_heads * group, entries = blocks * kv_heads;
    std::vector<float> max = RandomNormal(entries * rows * group, 1, 30.0f);
    std::vector<float> sum = RandomNormal(entries * rows * group, 2), out = RandomNormal(sum.size() * head_dim, 3);
    for (size_t i = 0; i < sum.size(); ++i) {
      sum[i] = std::abs(sum[i]) + 1;
      if (i % 7 != 3 && i >= 2 * sum.size() / entries) continue;  // of the first two entries, all are empty
      max[i] = -std::numeric_limits<float>::infinity();
      sum[i] = 0;
      std::fill_n(&out[i * head_dim], head_dim, 0.0f);
    }
    // An element that is negative, then underflows to -0.
    for (size_t i = 0; i < sum.size(); ++i) {
      const size_t block = i / (kv_heads * rows * group);
      out[i * head_dim] = block < 100 ? -std::abs(out[i * head_dim]) : -0.0f;
      if (block == 100) max[i] = 300, sum[i] = 1;
    }
    const AttentionPartials partials{test.From(out, DType::kF32, {entries, rows, group, head_dim}),
                                     test.From(max, DType::kF32, {entries, rows, group}),
                                     test.From(sum, DType::kF32, {entries, rows, group})};
    const TensorView wide = test.New(DType::kF32, {rows, heads + 1, head_dim});  // rows apart
    const AttentionState state{wide.Slice(1, 0, heads), test.New(DType::kF32, {rows, heads}),
                               test.New(DType::kF32, {rows, heads})};
    const auto merged = [&](const std::vector<int64_t>& cuts, bool last) {
      for (const TensorView& t : {wide, state.max, state.sum}) {
        std::fill_n(t.as<float>(), t.elements(), std::numeric_limits<float>::quiet_NaN());
      }
      for (size_t i = 0; i + 1 < cuts.size(); ++i) {
        const auto cut = [&](const TensorView& t) { return t.Slice(0, cuts[i], cuts[i + 1]); };
        AttentionMerge(test.lane(), {{cut(partials.out), cut(partials.max), cut(partials.sum)},
                                     kv_heads,
                                     cuts[i],
                                     state,
                                     i == 0,
                                     last && i + 2 == cuts.size()});
      }
      std::vector<float> all = test.Read(state.out);
      for (const TensorView& t : {state.max, state.sum}) {
        const std::vector<float> more = test.Read(t);
        all.insert(all.end(), more.begin(), more.end());
      }
      return all;
    };
    const std::vector<float> whole = merged({0, entries}, true);
    for (int64_t item = 0; item < rows * heads; ++item) {
      const int64_t row = item / heads, head = item % heads;
      double most = -std::numeric_limits<double>::infinity(), weight = 0;
      const auto at = [&](int64_t block) {
        return ((block * kv_heads + head / group) * rows + row) * group + head % group;
      };
      for (int64_t b = 0; b < blocks; ++b) most = std::max<double>(most, max[at(b)]);
      for (int64_t b = 0; b < blocks; ++b) weight += sum[at(b)] * std::exp(max[at(b)] - most);
      for (int64_t i = 0; i < head_dim; ++i) {
        double total = 0;
        for (int64_t b = 0; b < blocks; ++b) total += out[at(b) * head_dim + i] * std::exp(max[at(b)] - most);
        // A few roundings a block; outputs are below 4.
        CHECK(std::abs(whole[item * head_dim + i] - total / weight) <= 4 * 4 * blocks * 0x1p-24);
      }
      CHECK(whole[rows * heads * head_dim + item] == static_cast<float>(most));
      CHECK(whole[rows * heads * (head_dim + 1) + item] == doctest::Approx(weight).epsilon(4 * blocks * 0x1p-24));
    }
    const std::vector<float> open = merged({0, entries}, false);
    for (const int64_t cut : {1, 2, 3, 64, 65, 128, 130, 257, 319}) {
      for (const int64_t next : {cut, std::min(cut + 1, entries), std::min(cut + 67, entries)}) {
        CAPTURE(cut);
        CAPTURE(next);
        const std::vector<float> a = merged({0, cut, next, entries}, true), b = merged({0, cut, next, entries}, false);
        CHECK(std::memcmp(a.data(), whole.data(), whole.size() * sizeof(float)) == 0);
        CHECK(std::memcmp(b.data(), open.data(), open.size() * sizeof(float)) == 0);
      }
    }
  });
}

TEST_CASE("attention over a list of tiles equals, bit for bit, attention over the same tiles side by side") {
  ForEachDevice([](OpTest& test) {
    for (const auto& [dtype, head_dim] :
         {std::pair{DType::kF16, 20}, {DType::kBF16, 20}, {DType::kF32, 20}, {DType::kF16, 64}, {DType::kBF16, 128}}) {
      const int64_t kv_heads = 2, heads = 4, rows = head_dim == 64 ? 19 : 5, tokens = 1500;
      const KvView whole{test.New(dtype, {3 * kv_heads, 2, kKvBlock * head_dim}), kv_heads};
      KvAppendReference({test.Random(DType::kF32, {tokens, kv_heads, head_dim}, 1),
                         test.Random(DType::kF32, {tokens, kv_heads, head_dim}, 2), 0, whole});
      // Tiles of another order for each kv_head; the second block is not whole.
      constexpr int64_t kTiles = kBlockTiles + 30;
      const KvView dense{test.New(dtype, {2 * kv_heads, 2, kKvBlock * head_dim}), kv_heads};
      const TensorView tiles = test.New(DType::kI64, {2 * kv_heads, kBlockTiles});
      WithFloatType(dtype, [&]<typename T>(T) {
        for (int64_t head = 0; head < kv_heads; ++head) {
          for (int64_t i = 0; i < kTiles; ++i) {
            const int64_t from = (i * 37 + head * 11) % (tokens / kKeyTile) * kKeyTile, to = i * kKeyTile;
            T* const tile = KeyTileAt<T>(whole, head, from);
            tiles.as<int64_t>()[(i / kBlockTiles * kv_heads + head) * kBlockTiles + i % kBlockTiles] =
                reinterpret_cast<int64_t>(tile);
            std::copy_n(tile, kKeyTile * head_dim, KeyTileAt<T>(dense, head, to));
            std::copy_n(ValueAt<T>(whole, head, from), kKeyTile * head_dim, ValueAt<T>(dense, head, to));
          }
        }
      });
      const KvView scattered{whole.blocks, kv_heads, 0, tiles};
      const TensorView q = test.Random(DType::kF32, {rows, heads, head_dim}, 3);
      for (const int64_t visible : {int64_t{1}, int64_t{9}, kKvBlock - 2, kTiles * kKeyTile - rows + 1}) {
        for (const int64_t begin : {0, 1}) {  // a view that begins later, too
          const auto partials = [&](const KvView& kv) {
            const AttentionPartials p{test.New(DType::kF32, {kv.entries(), rows, 2, head_dim}),
                                      test.New(DType::kF32, {kv.entries(), rows, 2}),
                                      test.New(DType::kF32, {kv.entries(), rows, 2})};
            AttentionPartial(test.lane(), {q, kv, visible, true, 0.3f}, p);
            std::vector<float> all = test.Read(p.out);
            for (const TensorView& t : {p.max, p.sum}) {
              const std::vector<float> more = test.Read(t);
              all.insert(all.end(), more.begin(), more.end());
            }
            return all;
          };
          const std::vector<float> a = partials(dense.Slice(begin, 4)), b = partials(scattered.Slice(begin, 4));
          CHECK(std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0);
        }
      }
    }
  });
}

TEST_CASE("attention: a base on the device is added to what rows see, bit for bit") {
  ForEachDevice([](OpTest& test) {
    for (const Case& c : {kCases[0], kCases[1], kCases[2], kCases[3]}) {
      const KvView kv = RandomKv(test, c, 1310, 1536);
      const TensorView base = test.From(std::vector<int64_t>{0});
      for (const int64_t rows : {1, 5}) {
        AttentionArgs args{.q = Queries(test, c, rows, 5), .kv = kv, .visible = 3, .causal = true, .scale = 0.2f};
        const Memory memory(test, args);
        AttentionArgs on_device = args;
        on_device.base = base;
        const auto queue = [&] { Take(test, on_device, memory, true, true); };
        std::vector<std::function<void()>> changes;
        for (const int64_t visible : {1, 65, 512, 1300}) {
          if (!Few(test, visible, 1)) continue;
          args.visible = visible;
          const std::vector<float> expected = Decode(test, args);
          test.Write(std::vector<int64_t>{visible - 3}, base);
          queue();
          const std::vector<float> found = test.Read(memory.State(args).out);
          CAPTURE(rows);
          CAPTURE(visible);
          CHECK(std::memcmp(found.data(), expected.data(), expected.size() * sizeof(float)) == 0);
          changes.push_back([&test, base, visible] { test.Write(std::vector<int64_t>{visible - 3}, base); });
        }
        CheckReplays(test, queue, changes, [&] { return test.Read(memory.State(args).out); });
      }
    }
  });
}

}  // namespace
}  // namespace triforce
