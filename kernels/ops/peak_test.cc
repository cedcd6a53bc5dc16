#include "kernels/ops/peak.h"

#include <doctest/doctest.h>

#include <cstdint>
#include <vector>

#include "kernels/ops/op_testing.h"

namespace triforce {
namespace {

// No check of row invariance: there are no rows; these loops are measured, and nothing comes of their results.
TEST_CASE("peak_read reads every element exactly once") {
  ForEachDevice([](OpTest& test) {
    const int64_t elements = 4096 * 130;
    std::vector<float> values(elements);
    uint32_t state = 1;
    float sum = 0;  // below 2^24: exact in any order
    for (float& value : values) {
      state = state * 1664525u + 1013904223u;
      sum += value = static_cast<float>(state >> 28);
    }
    const TensorView data = test.From(values, DType::kF32, {elements}), sink = test.New(DType::kF32, {1});
    PeakRead(test.lane(), data, sink);
    CHECK(test.Read(sink)[0] == sum);
  });
}

TEST_CASE("peak_fma does the multiply-adds that it counts") {
  ForEachDevice([](OpTest& test) {
    const TensorView sink = test.New(DType::kF32, {1});
    const int64_t once = PeakFma(test.lane(), 1, sink);
    const float one_item = test.Read(sink)[0];
    CHECK(one_item > 0);  // each chain of x / 2 + 1 ends at 2
    CHECK(PeakFma(test.lane(), 2 * once + 1, sink) == 3 * once);
    CHECK(test.Read(sink)[0] == 4 * one_item);
  });
}

}  // namespace
}  // namespace triforce
