#include "kernels/ops/embed.h"

#include <doctest/doctest.h>

#include <vector>

#include "kernels/ops/op_testing.h"

namespace triforce {
namespace {

TEST_CASE("embed equals its reference, exactly") {
  ForEachDevice([](OpTest& test) {
    for (DType dtype : {DType::kF16, DType::kBF16, DType::kF32}) {
      for (int64_t hidden : {1, 64, 100}) {
        const TensorView table = test.Random(dtype, {7, hidden}, 1);
        const TensorView ids = test.From(std::vector<int32_t>{6, 0, 3, 3, 5});
        const TensorView out = test.New(DType::kF32, {5, hidden});
        const TensorView expected = test.New(DType::kF32, {5, hidden});
        EmbedReference({table, ids, expected});
        Embed(test.lane(), {table, ids, out});
        CHECK(test.Read(out) == test.Read(expected));
        CHECK(test.Read(out)[2 * hidden] == test.Read(table)[3 * hidden]);
      }
    }
  });
}

TEST_CASE("embed: a row's bits do not depend on the rows around it") {
  ForEachDevice([](OpTest& test) {
    const TensorView table = test.Random(DType::kF16, {300, 48}, 1);
    std::vector<int32_t> ids(512);
    for (int32_t i = 0; i < 512; ++i) ids[i] = i * 7 % 300;
    const TensorView all = test.From(ids);
    const TensorView out = test.New(DType::kF32, {512, 48});
    CheckRowInvariance(test, [&](int64_t first, int64_t rows) {
      Embed(test.lane(), {table, all.Slice(0, first, first + rows), out.Slice(0, first, first + rows)});
      return test.Read(out.Slice(0, first, first + rows));
    });
  });
}

}  // namespace
}  // namespace triforce
