#include "kernels/ops/kv_append.h"

#include <doctest/doctest.h>

#include <functional>
#include <vector>

#include "kernels/ops/op_testing.h"

namespace triforce {
namespace {

KvView NewKv(OpTest& test, DType dtype, int64_t kv_heads, int64_t capacity, int64_t head_dim) {
  return {test.New(dtype, {KvBlocks(capacity) * kv_heads, 2, kKvBlock * head_dim}), kv_heads};
}

// Bits, not tolerances: rounding is to nearest even on every path. Also whatever is not written stays as it was.
TEST_CASE("kv_append equals its reference: types, places, lengths") {
  ForEachDevice([](OpTest& test) {
    for (DType dtype : {DType::kF16, DType::kBF16, DType::kF32}) {
      for (int64_t head_dim : {16, 20, 64}) {
        for (int64_t rows : {1, 7, 8, 100}) {
          for (int64_t position : {0, 5, 500}) {
            const KvView kv = NewKv(test, dtype, 3, 600, head_dim);
            const KvView expected = NewKv(test, dtype, 3, 600, head_dim);
            const TensorView qkv = test.Random(DType::kF32, {rows, 9 * head_dim}, rows + position, 10.0f);
            const TensorView keys = qkv.Slice(1, 3 * head_dim, 6 * head_dim).SplitRows(3, head_dim);
            const TensorView values = qkv.Slice(1, 6 * head_dim, 9 * head_dim).SplitRows(3, head_dim);
            KvAppendReference({keys, values, position, expected});
            KvAppend(test.lane(), {keys, values, position, kv});
            CAPTURE(kv.blocks.ToString());
            CAPTURE(rows);
            CAPTURE(position);
            CHECK(test.Read(kv.blocks) == test.Read(expected.blocks));
          }
        }
      }
    }
  });
}

TEST_CASE("kv_append puts a token's key and value at its storage position") {
  ForEachDevice([](OpTest& test) {
    const KvView whole = NewKv(test, DType::kF16, 2, 1024, 2);
    const TensorView keys = test.From(std::vector<float>{1, 2, 3, 4, 11, 12, 13, 14}, DType::kF32, {2, 2, 2});
    const TensorView values = test.From(std::vector<float>{5, 6, 7, 8, 15, 16, 17, 18}, DType::kF32, {2, 2, 2});
    KvAppend(test.lane(), {keys, values, 519, whole.Slice(2, 4)});  // the second block of both kv_heads
    std::vector<float> expected(4 * 2 * kKvBlock * 2);
    float* const key_block = expected.data() + 2 * (2 * kKvBlock * 2);  // entry 2: block 1 of kv_head 0
    float* const value_block = key_block + kKvBlock * 2;
    key_block[14] = 1, key_block[15] = 2;    // token 7 of the block: tile 0, the last pair
    key_block[16] = 11, key_block[17] = 12;  // token 8: tile 1, the first pair
    value_block[14] = 5, value_block[15] = 6, value_block[16] = 15, value_block[17] = 16;
    float* const next_head = key_block + 2 * kKvBlock * 2;
    next_head[14] = 3, next_head[15] = 4, next_head[16] = 13, next_head[17] = 14;
    float* const next_values = next_head + kKvBlock * 2;
    next_values[14] = 7, next_values[15] = 8, next_values[16] = 17, next_values[17] = 18;
    CHECK(test.Read(whole.blocks) == expected);
  });
}

TEST_CASE("kv_append: a row's bits do not depend on the rows around it") {
  ForEachDevice([](OpTest& test) {
    const KvView kv = NewKv(test, DType::kBF16, 2, 512, 64);
    const TensorView keys = test.Random(DType::kF32, {512, 2, 64}, 1);
    const TensorView values = test.Random(DType::kF32, {512, 2, 64}, 2);
    CheckRowInvariance(test, [&](int64_t first, int64_t rows) {
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

TEST_CASE("kv_append: a base on the device is added to the position") {
  ForEachDevice([](OpTest& test) {
    for (const int64_t rows : {1, 2, 8, 17}) {
      const TensorView keys = test.Random(DType::kF32, {rows, 2, 24}, 1);
      const TensorView values = test.Random(DType::kF32, {rows, 2, 24}, 2);
      const TensorView base = test.From(std::vector<int64_t>{0});
      const KvView kv = NewKv(test, DType::kF16, 2, 1024, 24).Slice(2, 4);  // the second block
      const auto queue = [&] { KvAppend(test.lane(), {keys, values, 500, kv, base}); };
      std::vector<std::function<void()>> changes;
      for (const int64_t position : {512, 519, 700, 1024 - 17}) {
        const KvView expected = NewKv(test, DType::kF16, 2, 1024, 24).Slice(2, 4);
        KvAppendReference({keys, values, position, expected});
        const std::vector<float> zeros(kv.blocks.elements());
        const auto change = [&test, base, kv, zeros, position] {
          test.Write(std::vector<int64_t>{position - 500}, base);
          const TensorView cleared = test.From(zeros, DType::kF16, {static_cast<int64_t>(zeros.size())});
          test.lane().Copy(kv.blocks.data(), cleared.data(), kv.blocks.bytes(), "clear");
        };
        change();
        queue();
        CAPTURE(rows);
        CAPTURE(position);
        CHECK(test.Read(kv.blocks) == test.Read(expected.blocks));
        changes.push_back(change);
      }
      CheckReplays(test, queue, changes, [&] { return test.Read(kv.blocks); });
    }
  });
}

}  // namespace
}  // namespace triforce
