#include "kernels/ops/chunk_select.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <vector>

#include "kernels/ops/op_testing.h"

namespace triforce {
namespace {

TEST_CASE("chunk_select: the highest, ties to the lowest chunk, NaN last, forced ones in, others left out") {
  ForEachDevice([](OpTest& test) {
    const TensorView scores =
        test.From(std::vector<float>{1, 3, NAN, 3, 2, 9, 0, 0, INFINITY, 0, -1, 9, 50, 50}, DType::kF32, {2, 7});
    const auto select = [&](int64_t count, std::vector<int32_t> forced, int64_t out_first, int64_t out_end) {
      const TensorView selected = test.New(DType::kI32, {2, count});
      const int64_t width = static_cast<int64_t>(forced.size()) / 2;
      ChunkSelect(test.lane(), {scores, 6, out_first, out_end, test.From(forced).Reshape({2, width}), selected});
      return test.ReadInts(selected);
    };
    CHECK(select(2, {}, 0, 0) == std::vector<int32_t>{1, 5, 1, 5});
    CHECK(select(3, {2, 2, 0, 3}, 0, 0) == std::vector<int32_t>{1, 2, 5, 0, 1, 3});
    CHECK(select(3, {0, 5, 0, 5}, 4, 6) == std::vector<int32_t>{0, 1, 3, 0, 1, 2});  // left out, although forced
    CHECK(select(3, {}, 4, 6) == std::vector<int32_t>{0, 1, 3, 0, 1, 2});
    CHECK(select(6, {}, 0, 0) == std::vector<int32_t>{0, 1, 2, 3, 4, 5, 0, 1, 2, 3, 4, 5});
    CHECK(select(5, {}, 0, 0) == std::vector<int32_t>{0, 1, 3, 4, 5, 0, 1, 2, 4, 5});
  });
}

TEST_CASE("chunk_select equals a full sort at many sizes") {
  ForEachDevice([](OpTest& test) {
    const std::vector<float> values = test.Read(test.Random(DType::kF16, {3, 1001}, 7));  // f16: many ties
    const TensorView scores = test.From(values, DType::kF32, {3, 1001});
    for (const int64_t chunks : {1, 2, 64, 1000}) {
      for (const int64_t count : {int64_t{1}, (chunks + 1) / 2, chunks}) {
        const TensorView selected = test.New(DType::kI32, {3, count});
        const std::vector<int32_t> forced = {0, static_cast<int32_t>(chunks - 1), static_cast<int32_t>(chunks / 2)};
        ChunkSelect(test.lane(), {scores, chunks, 0, 0, test.From(forced).Reshape({3, 1}), selected});
        const std::vector<int32_t> found = test.ReadInts(selected);
        for (int64_t head = 0; head < 3; ++head) {
          std::vector<int32_t> order(chunks);
          for (int64_t i = 0; i < chunks; ++i) order[i] = static_cast<int32_t>(i);
          std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) {
            const bool a_forced = a == forced[head], b_forced = b == forced[head];
            if (a_forced || b_forced) return a_forced && !b_forced;
            return values[head * 1001 + a] > values[head * 1001 + b];
          });
          std::vector<int32_t> expected(order.begin(), order.begin() + count);
          std::sort(expected.begin(), expected.end());
          CHECK(std::vector<int32_t>(found.begin() + head * count, found.begin() + (head + 1) * count) == expected);
        }
      }
    }
  });
}

}  // namespace
}  // namespace triforce
