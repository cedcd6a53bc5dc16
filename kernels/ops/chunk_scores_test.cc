#include "kernels/ops/chunk_scores.h"

#include <doctest/doctest.h>

#include <cmath>
#include <vector>

#include "kernels/ops/op_testing.h"

namespace triforce {
namespace {

TEST_CASE("chunk_scores equals its reference: types, groups, numbers of chunks") {
  ForEachDevice([](OpTest& test) {
    for (DType dtype : {DType::kF16, DType::kBF16, DType::kF32}) {
      for (int64_t kv_heads : {1, 2, 6}) {
        for (int64_t chunks : {0, 1, 255, 256, 700}) {
          const int64_t head_dim = 36;
          const TensorView q = test.Random(DType::kF32, {6, head_dim}, 1);
          const TensorView means = test.Random(dtype, {kv_heads, 710, head_dim}, 2);
          const TensorView scores = test.New(DType::kF32, {kv_heads, 720});
          const TensorView expected = test.New(DType::kF32, {kv_heads, 720});
          ChunkScores(test.lane(), {q, means, chunks, scores});
          test.lane().Synchronize();
          ChunkScoresReference({q, means, chunks, expected});
          // A sum of head_dim products of normal values: partial sums stay below 64.
          CHECK(MaxDifference(test.Read(scores), test.Read(expected)) <= head_dim * 64 * 0x1p-24);
        }
      }
    }
  });
}

TEST_CASE("chunk_scores equals its reference: sizes of heads, rows that begin anywhere") {
  ForEachDevice([](OpTest& test) {
    for (const DType dtype : {DType::kF16, DType::kBF16, DType::kF32}) {
      for (const int64_t head_dim : {2, 8, 64, 72, 128, 200, 256, 328}) {
        const int64_t heads = 10, kv_heads = 2, chunks = 70;
        const TensorView all = test.Random(DType::kF32, {1 + heads * head_dim}, 1);
        for (const int64_t begin : {0, 1}) {
          const TensorView q = all.Slice(0, begin, begin + heads * head_dim).Reshape({heads, head_dim});
          const TensorView means = test.Random(dtype, {kv_heads, 71, head_dim}, 2);
          const TensorView scores = test.New(DType::kF32, {kv_heads, 72});
          const TensorView expected = test.New(DType::kF32, {kv_heads, 72});
          ChunkScores(test.lane(), {q, means, chunks, scores});
          test.lane().Synchronize();
          ChunkScoresReference({q, means, chunks, expected});
          // As above; partial sums stay below 8 sqrt(head_dim).
          const double of_sum = 8 * std::sqrt(static_cast<double>(head_dim)) * 0x1p-24;
          CHECK(MaxDifference(test.Read(scores), test.Read(expected)) <= static_cast<double>(head_dim) * of_sum);
        }
      }
    }
  });
}

TEST_CASE("chunk_scores: a score's bits depend on neither the number of chunks nor its place") {
  ForEachDevice([](OpTest& test) {
    for (const int64_t head_dim : {36, 128}) {
      const TensorView q = test.Random(DType::kF32, {3, head_dim}, 1);
      const TensorView means = test.Random(DType::kF16, {512, head_dim}, 2);
      CheckRowInvariance(test, [&](int64_t first, int64_t chunks) {
        const TensorView some = means.Slice(0, first, first + chunks).Reshape({1, chunks, head_dim});
        const TensorView out = test.New(DType::kF32, {1, chunks});
        ChunkScores(test.lane(), {q, some, chunks, out});
        return test.Read(out);
      });
    }
  });
}

TEST_CASE("chunk_scores: the group's largest, not its sum") {
  ForEachDevice([](OpTest& test) {
    const TensorView q = test.From(std::vector<float>{1, 0, 0, 1, -1, 0, 0, -1}, DType::kF32, {4, 2});
    const TensorView means = test.From(std::vector<float>{3, 5, -2, -7, 3, 5, -2, -7}, DType::kF32, {2, 2, 2});
    const TensorView scores = test.New(DType::kF32, {2, 2});
    ChunkScores(test.lane(), {q, means, 2, scores});
    CHECK(test.Read(scores) == std::vector<float>{5, -2, -3, 7});
  });
}

}  // namespace
}  // namespace triforce
