#include "kernels/ops/rms_norm.h"

#include <doctest/doctest.h>

#include <vector>

#include "kernels/ops/op_testing.h"

namespace triforce {
namespace {

// The sum of squares of h values in 16 chains is off by at most (h / 16 + 5) * 2^-24 of itself, its root by half that,
// and three more roundings follow; results are below 6 standard deviations times weights below 6.
double Tolerance(int64_t hidden) { return 36 * (static_cast<double>(hidden) / 32 + 6) * 0x1p-24; }

TEST_CASE("rms_norm equals its reference, with and without residual") {
  ForEachDevice([](OpTest& test) {
    for (int64_t hidden : {1, 15, 64, 100, 4096, 10000}) {
      for (bool residual : {false, true}) {
        const TensorView x = test.Random(DType::kF32, {9, hidden}, 1, 3.0f);
        const TensorView add = residual ? test.Random(DType::kF32, {9, hidden}, 2) : TensorView();
        const TensorView sum = residual ? test.New(DType::kF32, {9, hidden}) : TensorView();
        const TensorView expected_sum = residual ? test.New(DType::kF32, {9, hidden}) : TensorView();
        const TensorView weight = test.Random(DType::kF32, {hidden}, 3);
        const TensorView out = test.New(DType::kF32, {9, hidden}), expected = test.New(DType::kF32, {9, hidden});
        RmsNormReference({x, weight, 1e-5f, add, expected_sum, expected});
        RmsNorm(test.lane(), {x, weight, 1e-5f, add, sum, out});
        CAPTURE(hidden);
        CHECK(MaxDifference(test.Read(out), test.Read(expected)) <= Tolerance(hidden));
        if (residual) CHECK(test.Read(sum) == test.Read(expected_sum));
      }
    }
  });
}

TEST_CASE("rms_norm: epsilon keeps a row of zeros at zero") {
  ForEachDevice([](OpTest& test) {
    const TensorView x = test.New(DType::kF32, {1, 32}), out = test.Random(DType::kF32, {1, 32}, 1);
    RmsNorm(test.lane(), {x, test.Random(DType::kF32, {32}, 2), 1e-6f, {}, {}, out});
    for (float value : test.Read(out)) CHECK(value == 0);
  });
}

TEST_CASE("rms_norm in place, rows strided: what lies between them stays") {
  ForEachDevice([](OpTest& test) {
    const int64_t rows = 5, hidden = 300;
    const TensorView weight = test.Random(DType::kF32, {hidden}, 3);
    enum class Case { kOutIsX, kSumIsX, kAllApart };
    for (const Case which : {Case::kOutIsX, Case::kSumIsX, Case::kAllApart}) {
      // Everything that there is afterwards, gaps included.
      const auto run = [&](auto norm) {
        const TensorView x = test.Random(DType::kF32, {rows, 310}, 1), add = test.Random(DType::kF32, {rows, 303}, 2);
        const TensorView sum = test.Random(DType::kF32, {rows, 307}, 4), out = test.Random(DType::kF32, {rows, 305}, 5);
        const auto columns = [&](const TensorView& t) { return t.Slice(1, 3, 3 + hidden); };
        switch (which) {
          case Case::kOutIsX:
            norm(RmsNormArgs{columns(x), weight, 1e-5f, {}, {}, columns(x)});
            break;
          case Case::kSumIsX:
            norm(RmsNormArgs{columns(x), weight, 1e-5f, columns(add), columns(x), columns(out)});
            break;
          case Case::kAllApart:
            norm(RmsNormArgs{columns(x), weight, 1e-5f, columns(add), columns(sum), columns(out)});
        }
        std::vector<float> all;
        for (const TensorView& t : {x, add, sum, out}) {
          for (float value : test.Read(t)) all.push_back(value);
        }
        return all;
      };
      const std::vector<float> expected = run([](const RmsNormArgs& args) { RmsNormReference(args); });
      const std::vector<float> result = run([&](const RmsNormArgs& args) { RmsNorm(test.lane(), args); });
      CHECK(MaxDifference(result, expected) <= Tolerance(hidden));
    }
  });
}

TEST_CASE("rms_norm: a row's bits do not depend on the rows around it") {
  ForEachDevice([](OpTest& test) {
    const TensorView x = test.Random(DType::kF32, {512, 200}, 1), out = test.New(DType::kF32, {512, 200});
    const TensorView residual = test.Random(DType::kF32, {512, 200}, 2), sum = test.New(DType::kF32, {512, 200});
    const TensorView weight = test.Random(DType::kF32, {200}, 3);
    CheckRowInvariance(test, [&](int64_t first, int64_t rows) {
      const auto slice = [&](const TensorView& t) { return t.Slice(0, first, first + rows); };
      RmsNorm(test.lane(), {slice(x), weight, 1e-5f, slice(residual), slice(sum), slice(out)});
      return test.Read(slice(out));
    });
  });
}

}  // namespace
}  // namespace triforce
