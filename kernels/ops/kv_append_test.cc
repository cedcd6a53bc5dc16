#include "kernels/ops/kv_append.h"

#include <doctest/doctest.h>

#include <vector>

#include "kernels/ops/op_testing.h"

namespace triforce {
namespace {

KvView NewKv(OpTest& test, DType dtype, int64_t kv_heads, int64_t capacity, int64_t head_dim) {
  return {test.New(dtype, {kv_heads, capacity / kKeyTile, kKeyTile * head_dim}),
          test.New(dtype, {kv_heads, capacity, head_dim})};
}

// Bits, not tolerances: rounding is to nearest even on every path. Also whatever is not written stays as it was.
TEST_CASE("kv_append equals its reference: types, places, lengths") {
  ForEachDevice([](OpTest& test) {
    for (DType dtype : {DType::kF16, DType::kBF16, DType::kF32}) {
      for (int64_t head_dim : {16, 20, 64}) {
        for (int64_t rows : {1, 7, 8, 100}) {
          for (int64_t position : {0, 5, 92}) {
            const KvView kv = NewKv(test, dtype, 3, 192, head_dim);
            const KvView expected = NewKv(test, dtype, 3, 192, head_dim);
            const TensorView qkv = test.Random(DType::kF32, {rows, 9 * head_dim}, rows + position, 10.0f);
            const TensorView keys = qkv.Slice(1, 3 * head_dim, 6 * head_dim).SplitRows(3, head_dim);
            const TensorView values = qkv.Slice(1, 6 * head_dim, 9 * head_dim).SplitRows(3, head_dim);
            KvAppendReference({keys, values, position, expected});
            KvAppend(test.lane(), {keys, values, position, kv});
            CAPTURE(kv.values.ToString());
            CAPTURE(rows);
            CAPTURE(position);
            CHECK(test.Read(kv.keys) == test.Read(expected.keys));
            CHECK(test.Read(kv.values) == test.Read(expected.values));
          }
        }
      }
    }
  });
}

TEST_CASE("kv_append puts a token's key and value at its storage position") {
  ForEachDevice([](OpTest& test) {
    const KvView kv = NewKv(test, DType::kF16, 1, 16, 2);
    const TensorView keys = test.From(std::vector<float>{1, 2, 3, 4}, DType::kF32, {2, 1, 2});
    const TensorView values = test.From(std::vector<float>{5, 6, 7, 8}, DType::kF32, {2, 1, 2});
    KvAppend(test.lane(), {keys, values, 7, kv});
    std::vector<float> expected_keys(32), expected_values(32);
    expected_keys[14] = 1, expected_keys[15] = 2;  // token 7: tile 0, the last pair
    expected_keys[16] = 3, expected_keys[17] = 4;  // token 8: tile 1, the first pair
    expected_values[14] = 5, expected_values[15] = 6, expected_values[16] = 7, expected_values[17] = 8;
    CHECK(test.Read(kv.keys) == expected_keys);
    CHECK(test.Read(kv.values) == expected_values);
  });
}

TEST_CASE("kv_append: a row's bits do not depend on the rows around it") {
  ForEachDevice([](OpTest& test) {
    const KvView kv = NewKv(test, DType::kBF16, 2, 512, 64);
    const TensorView keys = test.Random(DType::kF32, {512, 2, 64}, 1);
    const TensorView values = test.Random(DType::kF32, {512, 2, 64}, 2);
    CheckRowInvariance([&](int64_t first, int64_t rows) {
      KvAppend(test.lane(), {keys.Slice(0, first, first + rows), values.Slice(0, first, first + rows), 0, kv});
      test.lane().Synchronize();
      std::vector<float> written;
      for (int64_t row = 0; row < rows; ++row) {
        for (int64_t head = 0; head < 2; ++head) {
          for (int64_t i = 0; i < 64; ++i) {
            written.push_back(ToF32(KeyTileAt<BF16>(kv, head, row)[KeyElement(row, i)]));
            written.push_back(ToF32(ValueAt<BF16>(kv, head, row)[i]));
          }
        }
      }
      return written;
    });
  });
}

}  // namespace
}  // namespace triforce
