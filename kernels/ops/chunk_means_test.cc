#include "kernels/ops/chunk_means.h"

#include <doctest/doctest.h>

#include <cmath>
#include <vector>

#include "kernels/ops/kv_append.h"
#include "kernels/ops/op_testing.h"

namespace triforce {
namespace {

// The sum of 8 values of size about 1, rounded 8 times, and the mean rounded once more to its type.
double Tolerance(DType means) {
  return 8 * 0x1p-22 + (means == DType::kF32 ? 0 : means == DType::kF16 ? 0x1p-10 : 0x1p-7);
}

TEST_CASE("chunk_means equals its reference: types, numbers of chunks, views that begin later") {
  ForEachDevice([](OpTest& test) {
    for (DType dtype : {DType::kF16, DType::kBF16, DType::kF32}) {
      for (DType means_type : {DType::kF32, DType::kF16, DType::kBF16}) {
        for (int64_t chunks : {0, 1, 63, 64, 100}) {
          const int64_t kv_heads = 3, head_dim = 20;
          const KvView whole{test.New(dtype, {3 * kv_heads, 2, kKvBlock * head_dim}), kv_heads};
          KvAppend(test.lane(), {test.Random(DType::kF32, {1400, kv_heads, head_dim}, 1),
                                 test.Random(DType::kF32, {1400, kv_heads, head_dim}, 2), 0, whole});
          for (const KvView& kv : {whole, whole.Slice(kv_heads, 3 * kv_heads)}) {
            const TensorView means = test.New(means_type, {kv_heads, 110, head_dim});
            const TensorView expected = test.New(means_type, {kv_heads, 110, head_dim});
            ChunkMeans(test.lane(), {kv, chunks, means});
            test.lane().Synchronize();
            ChunkMeansReference({kv, chunks, expected});
            CHECK(MaxDifference(test.Read(means), test.Read(expected)) <= Tolerance(means_type));
          }
        }
      }
    }
  });
}

TEST_CASE("chunk_means: a chunk's mean is that of its own eight keys") {
  ForEachDevice([](OpTest& test) {
    const KvView kv{test.New(DType::kF32, {2, 2, kKvBlock * 2}), 2};
    std::vector<float> keys;
    for (int token = 0; token < 16; ++token) {
      for (int head = 0; head < 2; ++head) {
        keys.push_back(static_cast<float>(token + 100 * head));
        keys.push_back(static_cast<float>(-token));
      }
    }
    const TensorView rows = test.From(keys, DType::kF32, {16, 2, 2});
    KvAppend(test.lane(), {rows, rows, 0, kv});
    const TensorView means = test.New(DType::kF32, {2, 2, 2});
    ChunkMeans(test.lane(), {kv, 2, means});
    CHECK(test.Read(means) == std::vector<float>{3.5, -3.5, 11.5, -11.5, 103.5, -3.5, 111.5, -11.5});
  });
}

}  // namespace
}  // namespace triforce
