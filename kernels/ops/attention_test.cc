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
  return {test.New(c.dtype, {KvBlocks(capacity) * c.kv_heads, 2, kKvBlock * c.head_dim}), c.kv_heads};
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
            CAPTURE(args.kv.blocks.ToString());
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
      CheckRowInvariance(test, [&](int64_t first, int64_t rows) { return Prefill(test, args(first, rows)); });
      const Memory memory(test, args(0, 512));
      CheckRowInvariance(test, [&](int64_t first, int64_t rows) { return Decode(test, args(first, rows), memory); });
    }
  });
}

TEST_CASE("attention: bits do not depend on where the KV lies, cut at any entry") {
  ForEachDevice([](OpTest& test) {
    const Case c{DType::kF16, 4, 2, 64};
    const int64_t tokens = 1900;
    const KvView kv = RandomKv(test, c, tokens, 2048);
    const TensorView q = test.Random(DType::kF32, {5, c.heads, c.head_dim}, 3);
    const AttentionArgs args{q, kv, tokens - 3, true, 0.125f};
    const std::vector<float> whole = Decode(test, args);
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

TEST_CASE("attention over a list of tiles equals, bit for bit, attention over the same tiles side by side") {
  ForEachDevice([](OpTest& test) {
    for (const DType dtype : {DType::kF16, DType::kBF16, DType::kF32}) {
      const int64_t kv_heads = 2, heads = 4, head_dim = 20, rows = 5, tokens = 1500;
      const KvView whole{test.New(dtype, {3 * kv_heads, 2, kKvBlock * head_dim}), kv_heads};
      KvAppend(test.lane(), {test.Random(DType::kF32, {tokens, kv_heads, head_dim}, 1),
                             test.Random(DType::kF32, {tokens, kv_heads, head_dim}, 2), 0, whole});
      // Tiles of another order for each kv_head; the second block is not whole.
      constexpr int64_t kTiles = kBlockTiles + 30;
      const KvView dense{test.New(dtype, {2 * kv_heads, 2, kKvBlock * head_dim}), kv_heads};
      const TensorView tiles = test.New(DType::kI64, {2 * kv_heads, kBlockTiles});
      test.lane().Synchronize();
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

}  // namespace
}  // namespace triforce
