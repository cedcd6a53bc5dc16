#include "kernels/ops/penalties.h"

#include <doctest/doctest.h>

#include <vector>

#include "kernels/ops/op_testing.h"

namespace triforce {
namespace {

TEST_CASE("penalties: repetition for all seen, frequency and presence for the output, others untouched") {
  ForEachDevice([](OpTest& test) {
    const auto penalised = [&](float repetition, float frequency, float presence) {
      const TensorView logits = test.From(std::vector<float>{4, -4, 2, -2, 1}, DType::kF32, {5});
      const TensorView tokens = test.From(std::vector<int32_t>{1, 0, 2});
      const TensorView counts = test.From(std::vector<int32_t>{0, 3, 1});
      Penalties(test.lane(), {logits, tokens, counts, repetition, frequency, presence});
      return test.Read(logits);
    };
    CHECK(penalised(1, 0, 0) == std::vector<float>{4, -4, 2, -2, 1});
    CHECK(penalised(2, 0, 0) == std::vector<float>{2, -8, 1, -2, 1});
    CHECK(penalised(1, 0.5f, 0) == std::vector<float>{2.5f, -4, 1.5f, -2, 1});
    CHECK(penalised(1, 0, 1) == std::vector<float>{3, -4, 1, -2, 1});
    CHECK(penalised(2, 0.5f, 1) == std::vector<float>{-0.5f, -8, -0.5f, -2, 1});
  });
}

}  // namespace
}  // namespace triforce
