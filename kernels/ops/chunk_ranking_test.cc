#include "kernels/ops/chunk_ranking.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
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
    for (int64_t chunks : {0, 1, 2, 63, 64, 1000}) {
      const TensorView scores = test.Random(DType::kF16, {3, 1001}, 7);  // f16: many ties
      const std::vector<float> values = test.Read(scores);
      const TensorView wide = test.From(values, DType::kF32, {3, 1001});
      const TensorView order = test.New(DType::kI32, {3, 1001});
      ChunkRanking(test.lane(), {wide, chunks, order});
      const std::vector<int32_t> ranks = test.ReadInts(order);
      for (int64_t head = 0; head < 3; ++head) {
        std::vector<int32_t> seen(ranks.begin() + head * 1001, ranks.begin() + (head + 1) * 1001);
        for (int64_t i = 0; i + 1 < chunks; ++i) {
          const float a = values[head * 1001 + seen[i]], b = values[head * 1001 + seen[i + 1]];
          CHECK((a > b || (a == b && seen[i] < seen[i + 1])));
        }
        std::sort(seen.begin(), seen.begin() + chunks);
        for (int32_t i = 0; i < 1001; ++i) CHECK(seen[i] == i);
      }
    }
  });
}

}  // namespace
}  // namespace triforce
