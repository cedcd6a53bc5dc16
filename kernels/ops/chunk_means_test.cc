#include "kernels/ops/chunk_means.h"

#include <doctest/doctest.h>

#include <cmath>
#include <vector>

#include "kernels/ops/kv_append.h"
#include "kernels/ops/op_testing.h"

namespace triforce {
namespace {

// The mean of n values of size about 1 (below 4): their sum is rounded n times, each time by half a unit of a sum below
// 4 n, so the mean is off by n * 4 n * 2^-24 / n at most; and it is rounded once more to its type.
double Tolerance(DType means, int64_t n) {
  return static_cast<double>(n) * 0x1p-22 + (means == DType::kF32 ? 0 : means == DType::kF16 ? 0x1p-10 : 0x1p-7);
}

TEST_CASE("chunk_means equals its reference: types, numbers of chunks, sizes, views that begin later") {
  ForEachDevice([](OpTest& test) {
    for (DType dtype : {DType::kF16, DType::kBF16, DType::kF32}) {
      for (DType means_type : {DType::kF32, DType::kF16, DType::kBF16}) {
        for (const auto& [chunks, chunk_tokens] :
             {std::pair<int64_t, int64_t>{0, 8}, {1, 8}, {63, 8}, {64, 8}, {100, 8}, {50, 16}, {13, 64}, {1, 512}}) {
          const int64_t kv_heads = 3, head_dim = 20;
          const KvView whole{test.New(dtype, {3 * kv_heads, 2, kKvBlock * head_dim}), kv_heads};
          KvAppend(test.lane(), {test.Random(DType::kF32, {1400, kv_heads, head_dim}, 1),
                                 test.Random(DType::kF32, {1400, kv_heads, head_dim}, 2), 0, whole});
          for (const KvView& kv : {whole, whole.Slice(kv_heads, 3 * kv_heads)}) {
            const TensorView means = test.New(means_type, {kv_heads, 170, head_dim});
            const TensorView expected = test.New(means_type, {kv_heads, 170, head_dim});
            const int64_t first = kv.first_position() / chunk_tokens;
            ChunkMeans(test.lane(), {kv, first, first + chunks, means, chunk_tokens});
            test.lane().Synchronize();
            ChunkMeansReference({kv, first, first + chunks, expected, chunk_tokens});
            CHECK(MaxDifference(test.Read(means), test.Read(expected)) <= Tolerance(means_type, chunk_tokens));
          }
        }
      }
    }
  });
}

TEST_CASE("chunk_means equals its reference: sizes of heads") {
  ForEachDevice([](OpTest& test) {
    for (const DType dtype : {DType::kF16, DType::kF32}) {
      for (const int64_t head_dim : {2, 64, 128, 256}) {
        const int64_t kv_heads = 2;
        const KvView kv{test.New(dtype, {kv_heads, 2, kKvBlock * head_dim}), kv_heads};
        const TensorView rows = test.Random(DType::kF32, {320, kv_heads, head_dim}, 1);
        KvAppend(test.lane(), {rows, rows, 0, kv});
        const TensorView means = test.New(DType::kF32, {kv_heads, 40, head_dim});
        const TensorView expected = test.New(DType::kF32, {kv_heads, 40, head_dim});
        ChunkMeans(test.lane(), {kv, 1, 40, means});
        test.lane().Synchronize();
        ChunkMeansReference({kv, 1, 40, expected});
        CHECK(MaxDifference(test.Read(means), test.Read(expected)) <= Tolerance(DType::kF32, kKeyTile));
      }
    }
  });
}

TEST_CASE("chunk_means: chunks before and behind those asked for keep their bytes") {
  ForEachDevice([](OpTest& test) {
    const KvView kv{test.New(DType::kF32, {2, 2, kKvBlock * 2}), 2};
    const TensorView rows = test.Random(DType::kF32, {64, 2, 2}, 1);
    KvAppend(test.lane(), {rows, rows, 0, kv});
    const TensorView all = test.New(DType::kF32, {2, 8, 2}), some = test.New(DType::kF32, {2, 8, 2});
    ChunkMeans(test.lane(), {kv, 0, 8, all});
    ChunkMeans(test.lane(), {kv, 3, 5, some});
    const std::vector<float> expected = test.Read(all), found = test.Read(some);
    for (int64_t i = 0; i < 32; ++i) {
      const int64_t chunk = i / 2 % 8;
      CHECK(found[i] == (chunk == 3 || chunk == 4 ? expected[i] : 0));
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
    ChunkMeans(test.lane(), {kv, 0, 2, means});
    CHECK(test.Read(means) == std::vector<float>{3.5, -3.5, 11.5, -11.5, 103.5, -3.5, 111.5, -11.5});
  });
}

TEST_CASE("chunk_means: a chunk's bits do not depend on the number of chunks") {
  ForEachDevice([](OpTest& test) {
    const int64_t head_dim = 6, tokens = 512 * kKeyTile;
    const KvView kv{test.New(DType::kF16, {KvBlocks(tokens), 2, kKvBlock * head_dim})};
    const TensorView keys = test.Random(DType::kF32, {tokens, 1, head_dim}, 1);
    KvAppend(test.lane(), {keys, keys, 0, kv});
    const TensorView means = test.New(DType::kF32, {1, 512, head_dim});
    CheckRowInvariance(test, [&](int64_t first, int64_t rows) {
      ChunkMeans(test.lane(), {kv, first, first + rows, means});
      return test.Read(means.Reshape({512, head_dim}).Slice(0, first, first + rows));
    });
  });
}

}  // namespace
}  // namespace triforce
