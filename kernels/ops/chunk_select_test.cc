#include "kernels/ops/chunk_select.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>
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
    for (const int64_t chunks : {1, 2, 63, 64, 65, 257, 1000}) {
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

// Each number below `chunks` once, in no order that shows: number i is that of chunk i.
std::vector<float> Numbers(int64_t chunks) {
  std::vector<float> numbers(chunks);
  for (int64_t i = 0; i < chunks; ++i) numbers[i] = static_cast<float>(i * 7919 % chunks);
  return numbers;
}

TEST_CASE("chunk_select: many chunks, some of them left out, some forced") {
  ForEachDevice([](OpTest& test) {
    // Of CUDA's ways: the largest block; keys outside shared memory; more of those than fit scratch memory at once.
    std::vector<int64_t> sizes = {5000, 16256, 24001};
    if (test.cuda() && !test.simulated()) sizes.push_back(6'000'000);
    for (const int64_t chunks : sizes) {
      const int64_t heads = 3, count = chunks / 9, out_first = chunks / 3, out_end = chunks / 2;
      std::vector<float> values;
      for (int64_t head = 0; head < heads; ++head) {
        // Ties in pairs, and of a third of all chunks.
        for (const float number : Numbers(chunks)) {
          values.push_back(head == 0 ? number : head == 1 ? std::floor(number / 2) : std::fmod(number, 3.0f));
        }
      }
      std::vector<int32_t> forced;
      for (int64_t head = 0; head < heads; ++head) {
        for (const int64_t chunk : {head, chunks - 1, out_first, out_first - 1, out_end, out_end, chunks / 7}) {
          forced.push_back(static_cast<int32_t>(chunk));
        }
      }
      const TensorView selected = test.New(DType::kI32, {heads, count});
      ChunkSelect(test.lane(), {test.From(values, DType::kF32, {heads, chunks}), chunks, out_first, out_end,
                                test.From(forced).Reshape({heads, 7}), selected});
      const std::vector<int32_t> found = test.ReadInts(selected);
      for (int64_t head = 0; head < heads; ++head) {
        float* const scores = values.data() + head * chunks;
        for (int64_t i = 0; i < 7; ++i) scores[forced[head * 7 + i]] = INFINITY;
        std::vector<int32_t> order;
        for (int32_t i = 0; i < chunks; ++i) {
          if (i < out_first || i >= out_end) order.push_back(i);
        }
        std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) { return scores[a] > scores[b]; });
        std::sort(order.begin(), order.begin() + count);
        order.resize(count);
        CHECK((std::vector<int32_t>(found.begin() + head * count, found.begin() + (head + 1) * count) == order));
      }
    }
  });
}

TEST_CASE("chunk_select: zeros of both signs are alike, infinities and NaN of both signs in their places") {
  ForEachDevice([](OpTest& test) {
    const float tiny = std::numeric_limits<float>::denorm_min();
    const TensorView scores = test.From(
        std::vector<float>{-NAN, -0.0f, 0, -INFINITY, NAN, -0.0f, tiny, -tiny, INFINITY, -1}, DType::kF32, {1, 10});
    const std::vector<int32_t> order = {8, 6, 1, 2, 5, 7, 9, 3, 0, 4};
    for (const int32_t out_end : {0, 1, 3}) {
      std::vector<int32_t> left;
      std::copy_if(order.begin(), order.end(), std::back_inserter(left), [=](int32_t i) { return i >= out_end; });
      for (size_t count = 0; count <= left.size(); ++count) {
        const TensorView selected = test.New(DType::kI32, {1, static_cast<int64_t>(count)});
        ChunkSelect(test.lane(), {scores, 10, 0, out_end, test.New(DType::kI32, {1, 0}), selected});
        std::vector<int32_t> expected(left.begin(), left.begin() + count);
        std::sort(expected.begin(), expected.end());
        CHECK(test.ReadInts(selected) == expected);
      }
    }
  });
}

TEST_CASE("chunk_select: what a kv_head has selected does not depend on the number of kv_heads") {
  ForEachDevice([](OpTest& test) {
    const int64_t chunks = 40, count = 11;
    const TensorView scores = test.Random(DType::kF32, {512, chunks}, 1);
    std::vector<int32_t> numbers;
    for (int32_t head = 0; head < 512; ++head) numbers.push_back(head * 7 % 40);
    const TensorView forced = test.From(numbers).Reshape({512, 1});
    CheckRowInvariance(test, [&](int64_t first, int64_t rows) {
      const TensorView selected = test.New(DType::kI32, {rows, count});
      ChunkSelect(test.lane(),
                  {scores.Slice(0, first, first + rows), chunks, 3, 9, forced.Slice(0, first, first + rows), selected});
      const std::vector<int32_t> found = test.ReadInts(selected);
      return std::vector<float>(found.begin(), found.end());
    });
  });
}

TEST_CASE("chunk_select: what is forced has to be a chunk") {
  ForEachDevice([](OpTest& test) {
    if (!test.simulated()) return;  // elsewhere that ends the program, or the device's use
    const TensorView scores = test.New(DType::kF32, {1, 5}), selected = test.New(DType::kI32, {1, 2});
    for (const int32_t forced : {-1, 5}) {
      CHECK_THROWS(ChunkSelect(test.lane(),
                               {scores, 5, 0, 0, test.From(std::vector<int32_t>{forced}).Reshape({1, 1}), selected}));
    }
  });
}

}  // namespace
}  // namespace triforce
