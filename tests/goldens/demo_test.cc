// The demo pair against transformers in f32, at up to 28,000 tokens.
#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "tests/goldens/golden.h"

namespace triforce {
namespace {

Comparison Compare(const std::string& model, int64_t tokens, DType kv_type) {
  return CompareWithGolden("models/demo/" + model,
                           ReadGolden("tests/data/demo/" + model + "-" + std::to_string(tokens) + ".safetensors"),
                           {.plan = {.kv_type = kv_type}, .threads = 2});
}

const std::vector<DType> kKvTypes = {DType::kF32, DType::kF16};

void Check(const std::string& model, int64_t tokens) {
  for (const DType kv_type : kKvTypes) {
    CAPTURE(model);
    CAPTURE(tokens);
    const Comparison c = Compare(model, tokens, kv_type);
    MESSAGE(model << " " << tokens << " " << Name(kv_type) << ": " << c.largest_difference << ", " << c.equal_greedy
                  << " greedy tokens equal, " << c.expected_greedy << " expected");
    CHECK(c.largest_difference <= LogitBound(kv_type == DType::kF32 ? 1e-4 : 5e-3, DType::kF16));
    if (kv_type == DType::kF32) CHECK(c.equal_greedy >= c.expected_greedy);
  }
}

#ifdef TRIFORCE_LONG_GOLDENS
TEST_CASE("demo goldens: the target behind 12,000 tokens") { Check("target", 12000); }
TEST_CASE("demo goldens: the target behind 28,000 tokens") { Check("target", 28000); }
#else
TEST_CASE("demo goldens: the draft") {
  for (const int64_t tokens : {64, 1500}) Check("draft", tokens);
}
TEST_CASE("demo goldens: the target") {
  for (const int64_t tokens : {64, 1500, 4096}) Check("target", tokens);
}
#endif

}  // namespace
}  // namespace triforce
