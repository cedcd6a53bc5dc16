#include "kernels/ops/penalties.h"

#include <doctest/doctest.h>

#include <vector>

#include "kernels/ops/op_testing.h"

namespace triforce {
namespace {

// No check of row invariance: the op has one row, and changes each token's logit for itself.
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

TEST_CASE("penalties: each of many tokens once") {
  ForEachDevice([](OpTest& test) {
    const int64_t vocab = 1000, count = 300;
    std::vector<int32_t> tokens(count), counts(count, 1);
    for (int32_t i = 0; i < count; ++i) tokens[i] = i * 3 % 1000;
    const TensorView logits = test.From(std::vector<float>(vocab, 4.0f), DType::kF32, {vocab});
    Penalties(test.lane(), {logits, test.From(tokens), test.From(counts), 2, 0.5f, 0.25f});
    std::vector<float> expected(vocab, 4.0f);
    for (int32_t token : tokens) expected[token] = 1.25f;
    CHECK(test.Read(logits) == expected);
  });
}

TEST_CASE("penalties: a token outside the vocabulary is an error") {
  ForEachDevice([](OpTest& test) {
    if (!test.simulated()) return;  // a CHECK ends the process, a trap the GPU's context
    const TensorView logits = test.New(DType::kF32, {5}), counts = test.From(std::vector<int32_t>{1});
    for (int32_t token : {-1, 5}) {
      CHECK_THROWS(Penalties(test.lane(), {logits, test.From(std::vector<int32_t>{token}), counts}));
    }
  });
}

}  // namespace
}  // namespace triforce
