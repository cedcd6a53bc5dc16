#include "kernels/ops/chunk_shares.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>
#include <vector>

#include "kernels/ops/op_testing.h"

namespace triforce {
namespace {

// A share is at most 1. Partial sums stay below 64, or 8 sqrt(head_dim), with head_dim roundings; scaled, they move an
// exponential by that much of itself; its sum over chunks, and the sum over rows and heads of a group, are rounded as
// often.
double Tolerance(int64_t head_dim, double scale, int64_t chunks, int64_t queries) {
  const double of_sum = std::max(64.0, 8 * std::sqrt(static_cast<double>(head_dim))) * 0x1p-24;
  const double of_one =
      static_cast<double>(head_dim) * of_sum * scale + static_cast<double>(chunks) * 0x1p-24 + 0x1p-20;
  return of_one * static_cast<double>(queries);
}

TEST_CASE("chunk_shares equals its reference: types, groups, rows, numbers of chunks") {
  ForEachDevice([](OpTest& test) {
    for (const DType dtype : {DType::kF16, DType::kBF16, DType::kF32}) {
      for (const int64_t kv_heads : {1, 2, 6}) {
        for (const int64_t chunks : {0, 1, 17, 256, 700}) {
          const int64_t head_dim = 36, heads = 6, rows = 1 + chunks % 5;
          // Rows as a pass has them: queries beside keys and values.
          const TensorView wide = test.Random(DType::kF32, {rows, heads * head_dim + 40}, 1);
          const TensorView q = wide.Slice(1, 0, heads * head_dim).SplitRows(heads, head_dim);
          const TensorView means = test.Random(dtype, {kv_heads, 710, head_dim}, 2);
          const TensorView shares = test.New(DType::kF32, {kv_heads, 720});
          const TensorView expected = test.New(DType::kF32, {kv_heads, 720});
          ChunkShares(test.lane(), {q, means, chunks, 0.2f, shares});
          test.lane().Synchronize();
          ChunkSharesReference({q, means, chunks, 0.2f, expected});
          CHECK(MaxDifference(test.Read(shares), test.Read(expected)) <=
                Tolerance(head_dim, 0.2, chunks, rows * heads));
        }
      }
    }
  });
}

TEST_CASE("chunk_shares equals its reference: sizes of heads, a pass' most rows") {
  ForEachDevice([](OpTest& test) {
    for (const DType dtype : {DType::kF16, DType::kBF16, DType::kF32}) {
      for (const auto& [head_dim, rows] :
           {std::pair<int64_t, int64_t>{2, 1}, {8, 17}, {64, 3}, {72, 2}, {128, 8}, {128, 64}, {256, 2}}) {
        const int64_t heads = 4, kv_heads = 2, chunks = 300;
        const TensorView q = test.Random(DType::kF32, {rows, heads, head_dim}, 1);
        const TensorView means = test.Random(dtype, {kv_heads, 301, head_dim}, 2);
        const TensorView shares = test.New(DType::kF32, {kv_heads, 302});
        const TensorView expected = test.New(DType::kF32, {kv_heads, 302});
        ChunkShares(test.lane(), {q, means, chunks, 0.1f, shares});
        test.lane().Synchronize();
        ChunkSharesReference({q, means, chunks, 0.1f, expected});
        CHECK(MaxDifference(test.Read(shares), test.Read(expected)) <= Tolerance(head_dim, 0.1, chunks, rows * heads));
      }
    }
  });
}

TEST_CASE("chunk_shares: without rows there are none") {
  ForEachDevice([](OpTest& test) {
    const TensorView q = test.New(DType::kF32, {0, 4, 8}), means = test.Random(DType::kF16, {2, 5, 8}, 2);
    const TensorView shares = test.From(std::vector<float>(10, 7.0f), DType::kF32, {2, 5});
    ChunkShares(test.lane(), {q, means, 4, 1.0f, shares});
    CHECK(test.Read(shares) == std::vector<float>{0, 0, 0, 0, 7, 0, 0, 0, 0, 7});
  });
}

TEST_CASE("chunk_shares: more logits than CUDA's scratch memory has room for at once") {
  ForEachDevice([](OpTest& test) {
    if (!test.cuda() || test.simulated()) return;  // the simulator would take minutes
    const int64_t head_dim = 8;
    for (const auto& [rows, heads, kv_heads, chunks] :
         {std::array<int64_t, 4>{64, 6, 3, 100'000}, {5, 4, 4, 5'000'000}}) {
      const TensorView q = test.Random(DType::kF32, {rows, heads, head_dim}, 1);
      const TensorView means = test.Random(DType::kF16, {kv_heads, chunks, head_dim}, 2);
      const TensorView shares = test.New(DType::kF32, {kv_heads, chunks});
      const TensorView expected = test.New(DType::kF32, {kv_heads, chunks});
      ChunkShares(test.lane(), {q, means, chunks, 0.1f, shares});
      test.lane().Synchronize();
      ChunkSharesReference({q, means, chunks, 0.1f, expected});
      // The largest shares are below 2^-10 of a query here, and so are their differences.
      CHECK(MaxDifference(test.Read(shares), test.Read(expected)) <=
            Tolerance(head_dim, 0.1, 1000, rows * heads) * 0x1p-10);
    }
  });
}

TEST_CASE("chunk_shares: what a row and head give sums to one") {
  ForEachDevice([](OpTest& test) {
    const TensorView q = test.Random(DType::kF32, {3, 4, 8}, 1, /*scale=*/20.0f);
    const TensorView means = test.Random(DType::kF16, {2, 50, 8}, 2);
    const TensorView shares = test.New(DType::kF32, {2, 50});
    ChunkShares(test.lane(), {q, means, 40, 1.0f, shares});
    const std::vector<float> found = test.Read(shares);
    for (int64_t head = 0; head < 2; ++head) {
      double sum = 0;
      for (int64_t chunk = 0; chunk < 50; ++chunk) sum += found[head * 50 + chunk];
      CHECK(sum == doctest::Approx(3 * 2));
      for (int64_t chunk = 40; chunk < 50; ++chunk) CHECK(found[head * 50 + chunk] == 0);
    }
  });
}

// Shares are sums over the rows; what stands for itself is a kv_head.
TEST_CASE("chunk_shares: a kv_head's bits do not depend on the number of kv_heads") {
  ForEachDevice([](OpTest& test) {
    const int64_t chunks = 21, head_dim = 20, group = 2, queries = 3;
    const TensorView q = test.Random(DType::kF32, {queries, 512 * group, head_dim}, 1);
    const TensorView means = test.Random(DType::kF16, {512, chunks, head_dim}, 2);
    CheckRowInvariance(test, [&](int64_t first, int64_t rows) {
      const TensorView shares = test.New(DType::kF32, {rows, chunks});
      ChunkShares(test.lane(), {q.Slice(1, group * first, group * (first + rows)), means.Slice(0, first, first + rows),
                                chunks, 0.2f, shares});
      return test.Read(shares);
    });
  });
}

}  // namespace
}  // namespace triforce
