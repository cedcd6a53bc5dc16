#include "kernels/ops/peak.h"

#include <doctest/doctest.h>

#include <vector>

#include "kernels/ops/op_testing.h"

namespace triforce {
namespace {

TEST_CASE("peak_read reads every element exactly once") {
  ForEachDevice([](OpTest& test) {
    const int64_t elements = 4096 * 130;
    const TensorView data = test.From(std::vector<float>(elements, 1.0f), DType::kF32, {elements});
    const TensorView sink = test.New(DType::kF32, {1});
    PeakRead(test.lane(), data, sink);
    CHECK(test.Read(sink)[0] == elements);
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
