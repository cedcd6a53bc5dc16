#include "kernels/ops/chunk_permute.h"

#include <doctest/doctest.h>

#include <vector>

#include "kernels/ops/op_testing.h"

namespace triforce {
namespace {

// No check of row invariance: means are moved and rounded, each for itself, and every bit of them is compared.
TEST_CASE("chunk_permute: each mean goes where its chunk has gone, rounded; others keep their bytes") {
  ForEachDevice([](OpTest& test) {
    for (const DType type : {DType::kF32, DType::kF16, DType::kBF16}) {
      constexpr int64_t kHeads = 2, kMost = 310, kChunks = 300, kHeadDim = 6;
      const TensorView from = test.Random(DType::kF32, {kHeads, kMost, kHeadDim}, 1);
      const TensorView rounded = test.From(test.Read(from), type, {kHeads, kMost, kHeadDim});
      std::vector<int32_t> order(kHeads * kMost);
      for (int64_t i = 0; i < kChunks; ++i) {
        order[i] = static_cast<int32_t>(i * 7 % kChunks);
        order[kMost + i] = static_cast<int32_t>(kChunks - 1 - i);
      }
      const TensorView to = test.New(type, {kHeads, kMost, kHeadDim});
      ChunkPermute(test.lane(), {from, test.From(order).Reshape({kHeads, kMost}), kChunks, to});
      const std::vector<float> found = test.Read(to), expected = test.Read(rounded);
      for (int64_t head = 0; head < kHeads; ++head) {
        for (int64_t i = 0; i < kMost * kHeadDim; ++i) {
          const int64_t chunk = i / kHeadDim, at = head * kMost * kHeadDim;
          const float wanted =
              chunk < kChunks ? expected[at + order[head * kMost + chunk] * kHeadDim + i % kHeadDim] : 0.0f;
          CHECK(found[at + i] == wanted);
        }
      }
    }
  });
}

TEST_CASE("chunk_permute: an order names chunks that there are") {
  ForEachDevice([](OpTest& test) {
    if (!test.simulated()) return;  // elsewhere that ends the program, or the device's use
    const TensorView from = test.New(DType::kF32, {1, 3, 2}), to = test.New(DType::kF32, {1, 3, 2});
    for (const int32_t chunk : {-1, 2}) {
      const TensorView order = test.From(std::vector<int32_t>{0, chunk, 1}).Reshape({1, 3});
      CHECK_THROWS(ChunkPermute(test.lane(), {from, order, 2, to}));
    }
  });
}

}  // namespace
}  // namespace triforce
