#include "kernels/ops/chunk_places.h"

#include <doctest/doctest.h>

#include <vector>

#include "kernels/ops/op_testing.h"

namespace triforce {
namespace {

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

}  // namespace
}  // namespace triforce
