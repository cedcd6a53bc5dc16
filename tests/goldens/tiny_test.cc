// The 14 small random models, one per feature of the architecture, against transformers in f32.
#include <doctest/doctest.h>

#include <cstring>
#include <string>
#include <vector>

#include "kernels/ops/op_testing.h"
#include "tests/goldens/golden.h"

namespace triforce {
namespace {

const std::vector<std::string> kModels = {"bf16",    "bias",      "fp32", "gqa",   "head_dim_32",
                                          "linear",  "llama3",    "mqa",  "plain", "rope_parameters",
                                          "sharded", "theta500k", "tied", "yarn"};

// The coarser of the types of a model's matrices and of its KV.
DType Operands(const std::string& model, DType kv_type) {
  if (model == "bf16" || kv_type == DType::kBF16) return DType::kBF16;
  return model == "fp32" ? kv_type : DType::kF16;
}

std::string Directory(const std::string& model) { return "tests/data/tiny/" + model; }

Comparison Compare(const std::string& model, DType kv_type) {
  return CompareWithGolden(Directory(model), ReadGolden(Directory(model) + "/golden.safetensors"),
                           {.plan = {.kv_type = kv_type}, .threads = 2});
}

TEST_CASE("tiny goldens, KV in f32: logits within 1e-4 of the largest, greedy tokens equal") {
  for (const std::string& model : kModels) {
    CAPTURE(model);
    const Comparison c = Compare(model, DType::kF32);
    MESSAGE(model << ": " << c.largest_difference);
    const DType operands = Operands(model, DType::kF32);
    CHECK(c.largest_difference <= LogitBound(1e-4, operands));
    // Rounded operands may turn the scale between two tokens that are close.
    if (TestDevice() == "cpu" || operands == DType::kF32) CHECK(c.equal_greedy == c.expected_greedy);
  }
}

TEST_CASE("tiny goldens, KV in f16: logits within 5e-3 of the largest") {
  for (const std::string& model : kModels) {
    CAPTURE(model);
    CHECK(Compare(model, DType::kF16).largest_difference <= LogitBound(5e-3, Operands(model, DType::kF16)));
  }
}

// bf16 has 8 bits of mantissa where f16 has 11.
TEST_CASE("tiny goldens, KV in bf16: logits within 4e-2 of the largest") {
  for (const std::string& model : kModels) {
    CAPTURE(model);
    CHECK(Compare(model, DType::kBF16).largest_difference <= LogitBound(4e-2, DType::kBF16));
  }
}

// On CUDA, more than 64 rows are a class of their own (DESIGN.md, rule 2).
TEST_CASE("a prompt's logits are the same bits in blocks of 1, 7, 64 and all rows, on 1 and 3 threads") {
  for (const std::string model : {"gqa", "yarn"}) {
    const std::vector<TokenId> input = ReadGolden(Directory(model) + "/golden.safetensors").input;
    std::vector<float> expected;
    for (const int64_t rows : {64, 1, 7, 512}) {
      if (rows > 64 && TestDevice() != "cpu") continue;
      for (const int threads : {1, 3}) {
        Engine engine({.model_directory = Directory(model),
                       .device = TestDevice(),
                       .plan = {.options = {.prefill_rows = rows}},
                       .threads = threads});
        const std::vector<float> logits = AllLogits(engine, input);
        if (expected.empty()) expected = logits;
        CAPTURE(rows);
        REQUIRE(logits.size() == expected.size());
        CHECK(std::memcmp(logits.data(), expected.data(), logits.size() * sizeof(float)) == 0);
      }
    }
  }
}

// Sums have their order from the program, not from the vectors' width, and both have fused multiply-add.
TEST_CASE("AVX2 and AVX-512 give the same bits; plain code stays within the goldens' bound") {
  const std::string directory = Directory("llama3");
  const Golden golden = ReadGolden(directory + "/golden.safetensors");
  std::vector<float> of_vectors;
  ForEachSimdTarget([&](const std::string& target) {
    CAPTURE(target);
    Engine engine({.model_directory = directory, .threads = 2});
    const std::vector<float> logits = AllLogits(engine, golden.input);
    if (target.starts_with("AVX")) {
      if (of_vectors.empty()) of_vectors = logits;
      CHECK(std::memcmp(logits.data(), of_vectors.data(), logits.size() * sizeof(float)) == 0);
    } else {
      CHECK(CompareWithGolden(directory, golden, {.plan = {.kv_type = DType::kF32}, .threads = 2}).largest_difference <=
            LogitBound(1e-4, DType::kF16));
    }
  });
}

}  // namespace
}  // namespace triforce
