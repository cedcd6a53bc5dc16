#include "kernels/ops/kv_gather.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <numeric>
#include <random>
#include <vector>

#include "kernels/ops/kv_append.h"
#include "kernels/ops/op_testing.h"

namespace triforce {
namespace {

// No check of row invariance: keys and values are moved, and every bit of them is compared, whatever the run of
// entries.
TEST_CASE("kv_gather: each storage chunk is the token chunk that the order names, in any run of entries") {
  for (const int64_t chunk_tokens : {8, 16, 64, 512})
    ForEachDevice([=](OpTest& test) {
      const int64_t kv_heads = 3, head_dim = 4, tokens = 1300, chunks = (tokens + chunk_tokens - 1) / chunk_tokens;
      const KvView from{test.New(DType::kF16, {KvBlocks(tokens) * kv_heads, 2, kKvBlock * head_dim}), kv_heads};
      const TensorView keys = test.Random(DType::kF32, {tokens, kv_heads, head_dim}, 1);
      const TensorView values = test.Random(DType::kF32, {tokens, kv_heads, head_dim}, 2);
      KvAppend(test.lane(), {keys, values, 0, from});
      std::vector<int32_t> order;
      std::mt19937 random(5);
      for (int64_t head = 0; head < kv_heads; ++head) {
        std::vector<int32_t> of_head(chunks);
        std::iota(of_head.begin(), of_head.end(), 0);
        std::shuffle(of_head.begin(), of_head.end() - 1, random);  // the incomplete one stays last
        order.insert(order.end(), of_head.begin(), of_head.end());
      }
      const TensorView order_view = [&] {
        const TensorView flat = test.From(order);
        return flat.Reshape({kv_heads, chunks});
      }();
      for (const auto& [begin, end] : {std::pair<int64_t, int64_t>{0, 9}, {2, 3}, {4, 9}}) {
        const KvView to{test.New(DType::kF16, {end - begin, 2, kKvBlock * head_dim}), kv_heads, begin};
        constexpr float kUntouched = 77;
        for (int64_t i = 0; i < to.blocks.elements(); ++i) to.blocks.as<F16>()[i] = ToF16(kUntouched);
        KvGather(test.lane(), {from, order_view, chunks, to, chunk_tokens});
        test.lane().Synchronize();
        for (int64_t entry = 0; entry < to.entries(); ++entry) {
          for (int64_t i = 0; i < kKvBlock; ++i) {
            const int64_t position = to.BlockOf(entry) * kKvBlock + i, head = to.HeadOf(entry);
            if (position >= chunks * chunk_tokens) {
              CHECK(ToF32(ValueAt<F16>(to, head, position)[0]) == kUntouched);
              CHECK(ToF32(KeyTileAt<F16>(to, head, position)[KeyElement(position, 0)]) == kUntouched);
              continue;
            }
            const int64_t token =
                order[head * chunks + position / chunk_tokens] * chunk_tokens + position % chunk_tokens;
            for (int64_t e = 0; e < head_dim; ++e) {
              CHECK(ToF32(KeyTileAt<F16>(to, head, position)[KeyElement(position, e)]) ==
                    ToF32(KeyTileAt<F16>(from, head, token)[KeyElement(token, e)]));
              CHECK(ToF32(ValueAt<F16>(to, head, position)[e]) == ToF32(ValueAt<F16>(from, head, token)[e]));
            }
          }
        }
      }
    });
}

TEST_CASE("kv_gather: a chunk that there is not is an error") {
  ForEachDevice([](OpTest& test) {
    if (!test.simulated()) return;  // a CHECK ends the process, a trap the GPU's context
    const KvView from{test.New(DType::kF16, {1, 2, kKvBlock * 4})}, to{test.New(DType::kF16, {1, 2, kKvBlock * 4})};
    for (int32_t chunk : {-1, 2}) {
      const TensorView order = test.From(std::vector<int32_t>{0, chunk}).Reshape({1, 2});
      CHECK_THROWS(KvGather(test.lane(), {from, order, 2, to}));
    }
  });
}

}  // namespace
}  // namespace triforce
