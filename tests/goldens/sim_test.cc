// The whole way of a pass with CUDA's kernels, where there is no GPU: tiny models against transformers, every kernel in
// the simulator.
#include <doctest/doctest.h>

#include <cstdlib>
#include <string>

#include "tests/goldens/golden.h"

namespace triforce {

namespace {

Comparison Compare(const std::string& model, DType kv_type) {
  const std::string directory = "tests/data/tiny/" + model;
  Golden golden = ReadGolden(directory + "/golden.safetensors");
  constexpr size_t kGreedy = 3;
  golden.greedy.resize(kGreedy);
  return CompareWithGolden(directory, golden,
                           {.plan = {.kv_type = kv_type, .device_bytes = int64_t{1} << 30}, .threads = 1});
}

TEST_CASE("tiny goldens by CUDA's kernels") {
  ::setenv("TRIFORCE_TEST_DEVICE", "cuda:0", 1);
  CHECK(Compare("fp32", DType::kF32).largest_difference <= LogitBound(0, DType::kF32));
  CHECK(Compare("gqa", DType::kF16).largest_difference <= LogitBound(0, DType::kF16));
  CHECK(Compare("bf16", DType::kBF16).largest_difference <= LogitBound(0, DType::kBF16));
}

}  // namespace
}  // namespace triforce
