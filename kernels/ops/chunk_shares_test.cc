#include "kernels/ops/chunk_shares.h"

#include <doctest/doctest.h>

#include <vector>

#include "kernels/ops/op_testing.h"

namespace triforce {
namespace {

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
          // A share is at most 1. Products stay below 64, with head_dim roundings; scaled, they move an exponential by
          // that much of itself; its sum over chunks, and the sum over rows and heads of a group, are rounded as often.
          const double of_one = head_dim * 64 * 0.2 * 0x1p-24 + static_cast<double>(chunks) * 0x1p-24 + 0x1p-20;
          CHECK(MaxDifference(test.Read(shares), test.Read(expected)) <= of_one * static_cast<double>(rows * heads));
        }
      }
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

}  // namespace
}  // namespace triforce
