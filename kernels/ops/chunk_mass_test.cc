#include "kernels/ops/chunk_mass.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/ops/kv_append.h"
#include "kernels/ops/op_testing.h"

namespace triforce {
namespace {

TEST_CASE("chunk_mass equals its reference: types, groups, sizes, runs of entries, keys that are not seen") {
  ForEachDevice([](OpTest& test) {
    for (const DType dtype : {DType::kF16, DType::kBF16, DType::kF32}) {
      for (const int64_t chunk_tokens : {8, 64, 512}) {
        for (const int64_t visible : {0, 1, 511, 700, 1400}) {
          const int64_t kv_heads = 2, heads = 4, head_dim = 20, chunks = 3 * kKvBlock / chunk_tokens;
          const KvView whole{test.New(dtype, {3 * kv_heads, 2, kKvBlock * head_dim}), kv_heads};
          KvAppend(test.lane(), {test.Random(DType::kF32, {1400, kv_heads, head_dim}, 1),
                                 test.Random(DType::kF32, {1400, kv_heads, head_dim}, 2), 0, whole});
          const TensorView q = test.Random(DType::kF32, {heads, head_dim}, 3);
          for (const KvView& kv : {whole, whole.Slice(1, 4)}) {
            const TensorView found = test.New(DType::kF32, {heads, chunks}),
                             expected = test.New(DType::kF32, {heads, chunks});
            ChunkMass(test.lane(), {q, kv, visible, 0.3f, chunk_tokens, found});
            test.lane().Synchronize();
            ChunkMassReference({q, kv, visible, 0.3f, chunk_tokens, expected});
            const std::vector<float> a = test.Read(found), b = test.Read(expected);
            for (size_t i = 0; i < a.size(); ++i) {
              const bool none = std::isinf(b[i]);
              CHECK(std::isinf(a[i]) == none);
              // Scores below 16 with head_dim roundings, and sums of up to 512 terms with as many: each moves a log by
              // its own relative error.
              if (!none)
                CHECK(std::abs(a[i] - b[i]) <=
                      16 * head_dim * 0x1p-24 + (chunk_tokens + 8) * 0x1p-23 + std::abs(b[i]) * 0x1p-22);
            }
          }
        }
      }
    }
  });
}

// There is one query, and so no rows. What goes in parts of any size are the entries: a cut of residency's or a ring
// slot's.
TEST_CASE("chunk_mass: a chunk's bits do not depend on the run of entries that it comes in") {
  ForEachDevice([](OpTest& test) {
    const int64_t kv_heads = 2, heads = 4, head_dim = 20, chunk_tokens = 64, chunks = 3 * kKvBlock / chunk_tokens;
    const KvView whole{test.New(DType::kF16, {3 * kv_heads, 2, kKvBlock * head_dim}), kv_heads};
    KvAppend(test.lane(), {test.Random(DType::kF32, {1400, kv_heads, head_dim}, 1),
                           test.Random(DType::kF32, {1400, kv_heads, head_dim}, 2), 0, whole});
    const TensorView q = test.Random(DType::kF32, {heads, head_dim}, 3);
    const TensorView at_once = test.New(DType::kF32, {heads, chunks});
    ChunkMass(test.lane(), {q, whole, 1400, 0.3f, chunk_tokens, at_once});
    const std::vector<float> expected = test.Read(at_once);
    for (const int64_t entries : {1, 2, 4}) {
      const TensorView in_runs = test.New(DType::kF32, {heads, chunks});
      for (int64_t first = 0; first < 3 * kv_heads; first += entries) {
        const int64_t end = std::min(first + entries, 3 * kv_heads);
        ChunkMass(test.lane(), {q, whole.Slice(first, end), 1400, 0.3f, chunk_tokens, in_runs});
      }
      CHECK(test.Read(in_runs) == expected);
    }
  });
}

TEST_CASE("add_chunk_mass: shares of the attention, summed over the group, on top of what was there") {
  ForEachDevice([](OpTest& test) {
    const float half = std::log(0.5f), quarter = std::log(0.25f), none = -INFINITY;
    const TensorView masses = test.From(std::vector<float>{half + 3, quarter + 3, quarter + 3, 99, none, 7, none, 99, 1,
                                                           1, none, 99, none, none, 2, 99},
                                        DType::kF32, {4, 4});
    const TensorView sums = test.From(std::vector<float>(10, 1.0f), DType::kF32, {2, 5});
    AddChunkMass(test.lane(), {masses, 3, sums});
    const std::vector<float> found = test.Read(sums);
    const std::vector<float> expected = {1.5, 2.25, 1.25, 1, 1, 1.5, 1.5, 2, 1, 1};
    for (size_t i = 0; i < found.size(); ++i) CHECK(std::abs(found[i] - expected[i]) < 1e-6);
  });
}

TEST_CASE("add_chunk_mass: many chunks, again and again") {
  ForEachDevice([](OpTest& test) {
    for (const int64_t chunks : {33, 1000, 9000}) {
      const int64_t heads = 6, kv_heads = 2, width = chunks + 3;
      const std::vector<float> masses = RandomNormal(heads * width, 1, 3.0f);
      const TensorView sums = test.New(DType::kF32, {kv_heads, width});
      const TensorView log_masses = test.From(masses, DType::kF32, {heads, width});
      for (int i = 0; i < 2; ++i) AddChunkMass(test.lane(), {log_masses, chunks, sums});
      std::vector<float> expected(kv_heads * width);
      for (int64_t head = 0; head < heads; ++head) {
        double all = 0;
        for (int64_t i = 0; i < chunks; ++i) all += std::exp(static_cast<double>(masses[head * width + i]));
        for (int64_t i = 0; i < chunks; ++i) {
          expected[head / 3 * width + i] +=
              static_cast<float>(2 * std::exp(static_cast<double>(masses[head * width + i])) / all);
        }
      }
      // Shares below 1, each of an exponential and a sum whose errors are some roundings of themselves.
      CHECK(MaxDifference(test.Read(sums), expected) <= 6 * 0x1p-19);
    }
  });
}

TEST_CASE("add_chunk_mass: a kv_head's bits do not depend on the number of kv_heads") {
  ForEachDevice([](OpTest& test) {
    const int64_t chunks = 37, group = 2;
    const TensorView masses = test.Random(DType::kF32, {512 * group, chunks}, 1, 3.0f);
    CheckRowInvariance(test, [&](int64_t first, int64_t rows) {
      const TensorView sums = test.New(DType::kF32, {rows, chunks});
      AddChunkMass(test.lane(), {masses.Slice(0, group * first, group * (first + rows)), chunks, sums});
      return test.Read(sums);
    });
  });
}

}  // namespace
}  // namespace triforce
