#include "kernels/ops/chunk_ranking.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "kernels/ops/op_testing.h"

namespace triforce {
namespace {

TEST_CASE("chunk_ranking: descending, ties to the lowest chunk, NaN last, the rest in place") {
  ForEachDevice([](OpTest& test) {
    const TensorView scores = test.From(std::vector<float>{1, 3, NAN, 3, 2, 9, 0, 0, 0, 0, -1, 9}, DType::kF32, {2, 6});
    const TensorView order = test.New(DType::kI32, {2, 6});
    ChunkRanking(test.lane(), {scores, 5, order});
    CHECK(test.ReadInts(order) == std::vector<int32_t>{1, 3, 4, 0, 2, 5, 0, 1, 2, 3, 4, 5});
  });
}

TEST_CASE("chunk_ranking: a permutation in falling order, at many lengths") {
  ForEachDevice([](OpTest& test) {
    constexpr int64_t kWidth = 5001;
    const std::vector<float> values = test.Read(test.Random(DType::kF16, {3, kWidth}, 7));  // f16: many ties
    const TensorView wide = test.From(values, DType::kF32, {3, kWidth});
    for (int64_t chunks : {0, 1, 2, 63, 64, 300, 1000, 5000}) {
      const TensorView order = test.New(DType::kI32, {3, kWidth});
      ChunkRanking(test.lane(), {wide, chunks, order});
      const std::vector<int32_t> ranks = test.ReadInts(order);
      for (int64_t head = 0; head < 3; ++head) {
        std::vector<int32_t> seen(ranks.begin() + head * kWidth, ranks.begin() + (head + 1) * kWidth);
        for (int64_t i = 0; i + 1 < chunks; ++i) {
          const float a = values[head * kWidth + seen[i]], b = values[head * kWidth + seen[i + 1]];
          CHECK((a > b || (a == b && seen[i] < seen[i + 1])));
        }
        std::sort(seen.begin(), seen.begin() + chunks);
        for (int32_t i = 0; i < kWidth; ++i) CHECK(seen[i] == i);
      }
    }
  });
}

TEST_CASE("chunk_ranking: zeros of both signs are alike, infinities and NaN of both signs in their places") {
  ForEachDevice([](OpTest& test) {
    const float tiny = std::numeric_limits<float>::denorm_min();
    const TensorView scores = test.From(
        std::vector<float>{-NAN, -0.0f, 0, -INFINITY, NAN, -0.0f, tiny, -tiny, INFINITY, -1}, DType::kF32, {1, 10});
    const TensorView order = test.New(DType::kI32, {1, 10});
    ChunkRanking(test.lane(), {scores, 10, order});
    CHECK(test.ReadInts(order) == std::vector<int32_t>{8, 6, 1, 2, 5, 7, 9, 3, 0, 4});
  });
}

TEST_CASE("chunk_ranking: a kv_head's order does not depend on the number of kv_heads") {
  ForEachDevice([](OpTest& test) {
    const int64_t chunks = 40;
    const TensorView scores = test.Random(DType::kF32, {512, chunks}, 1);
    CheckRowInvariance(test, [&](int64_t first, int64_t rows) {
      const TensorView order = test.New(DType::kI32, {rows, chunks});
      ChunkRanking(test.lane(), {scores.Slice(0, first, first + rows), chunks, order});
      const std::vector<int32_t> ranks = test.ReadInts(order);
      return std::vector<float>(ranks.begin(), ranks.end());
    });
  });
}

TEST_CASE("chunk_ranking: more chunks than CUDA's scratch memory has room for at once") {
  ForEachDevice([](OpTest& test) {
    if (!test.cuda() || test.simulated()) return;  // the simulator would take minutes
    const int64_t heads = 3, chunks = 6'000'000;
    std::vector<float> scores(heads * chunks);
    for (int64_t i = 0; i < heads * chunks; ++i) scores[i] = static_cast<float>(-(i % chunks * 7919 % chunks));
    const TensorView order = test.New(DType::kI32, {heads, chunks});
    ChunkRanking(test.lane(), {test.From(scores, DType::kF32, {heads, chunks}), chunks, order});
    const std::vector<int32_t> ranks = test.ReadInts(order);
    bool right = true;
    for (int64_t i = 0; i < heads * chunks; ++i) right &= int64_t{ranks[i]} * 7919 % chunks == i % chunks;
    CHECK(right);
  });
}

}  // namespace
}  // namespace triforce
