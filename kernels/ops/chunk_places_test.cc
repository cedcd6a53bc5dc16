#include "kernels/ops/chunk_places.h"

#include <doctest/doctest.h>

#include <vector>

#include "kernels/ops/op_testing.h"

namespace triforce {
namespace {

// No check of row invariance: places are whole numbers, all of which are compared with what they have to be.
TEST_CASE("chunk_places: the places of the first and the last chunks; the two may overlap") {
  ForEachDevice([](OpTest& test) {
    const TensorView order = test.From(std::vector<int32_t>{4, 1, 0, 3, 2, 5, 2, 0, 4, 1, 3, 5}).Reshape({2, 6});
    const TensorView places = test.From(std::vector<int32_t>(10, -1)).Reshape({2, 5});
    ChunkPlaces(test.lane(), {order, 5, 2, 3, places});  // the sixth is not ranked
    CHECK(test.ReadInts(places) == std::vector<int32_t>{2, 1, 4, 3, 0, 1, 3, 0, 4, 2});
    const TensorView all = test.From(std::vector<int32_t>(12, -1)).Reshape({2, 6});
    ChunkPlaces(test.lane(), {order, 3 + 2, 1, 5, all});
    CHECK(test.ReadInts(all) == std::vector<int32_t>{2, 2, 1, 4, 3, 0, 1, 1, 3, 0, 4, 2});
    const TensorView none = test.New(DType::kI32, {2, 0});
    ChunkPlaces(test.lane(), {order, 5, 0, 0, none});
    test.lane().Synchronize();
  });
}

TEST_CASE("chunk_places: many chunks") {
  ForEachDevice([](OpTest& test) {
    const int64_t heads = 2, chunks = 1000, first = 300, last = 290;
    std::vector<int32_t> order, expected(heads * (first + last));
    for (int64_t head = 0; head < heads; ++head) {
      for (int64_t i = 0; i < chunks; ++i) {
        const int64_t chunk = (i + head) * 7 % chunks, of_last = chunk - (chunks - last);
        order.push_back(static_cast<int32_t>(chunk));
        if (chunk < first) expected[head * (first + last) + chunk] = static_cast<int32_t>(i);
        if (of_last >= 0) expected[head * (first + last) + first + of_last] = static_cast<int32_t>(i);
      }
    }
    const TensorView places = test.New(DType::kI32, {heads, first + last});
    ChunkPlaces(test.lane(), {test.From(order).Reshape({heads, chunks}), chunks, first, last, places});
    CHECK(test.ReadInts(places) == expected);
  });
}

TEST_CASE("chunk_places: an order names chunks that there are") {
  ForEachDevice([](OpTest& test) {
    if (!test.simulated()) return;  // elsewhere that ends the program, or the device's use
    for (const int32_t chunk : {-1, 3}) {
      const TensorView order = test.From(std::vector<int32_t>{0, chunk, 1}).Reshape({1, 3});
      CHECK_THROWS(ChunkPlaces(test.lane(), {order, 3, 1, 1, test.New(DType::kI32, {1, 2})}));
    }
  });
}

}  // namespace
}  // namespace triforce
