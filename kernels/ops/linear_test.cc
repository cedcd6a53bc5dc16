#include "kernels/ops/linear.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/ops/op_testing.h"

namespace triforce {
namespace {

struct Case {
  DType dtype;
  LinearForm form;
  std::vector<int64_t> features;  // of each source
  int64_t in_features;
  bool bias;
  bool residual;
};

LinearWeight Pack(OpTest& test, const Case& c) {
  LinearWeight weight{.form = c.form, .in_features = c.in_features};
  std::vector<TensorView> sources;
  for (int64_t features : c.features) {
    weight.out_features = c.form == LinearForm::kGated ? features : weight.out_features + features;
    sources.push_back(test.Random(c.dtype, {features, c.in_features}, sources.size() + 1));
  }
  weight.panels = test.New(c.dtype, {LinearPanels(c.form, weight.out_features), c.in_features, kPanelWidth});
  if (c.bias) {
    weight.bias = test.Random(DType::kF32, {c.form == LinearForm::kGated ? 2 : 1, weight.out_features}, 7);
  }
  PackLinear(test.lane(), {sources, c.form, c.in_features, weight.out_features, 0, weight.panels});
  return weight;
}

const std::vector<Case> kCases = {
    {DType::kF16, LinearForm::kPlain, {64}, 64, false, false},
    {DType::kBF16, LinearForm::kPlain, {96, 32, 32}, 48, true, false},
    {DType::kF32, LinearForm::kPlain, {1, 200}, 5, false, true},
    {DType::kF16, LinearForm::kPlain, {70}, 37, true, true},
    {DType::kF16, LinearForm::kPlain, {320}, 700, true, true},
    {DType::kF16, LinearForm::kGated, {160, 160}, 64, false, false},
    {DType::kBF16, LinearForm::kGated, {23, 23}, 200, true, false},
    {DType::kF32, LinearForm::kGated, {33, 33}, 300, true, false},
    {DType::kBF16, LinearForm::kGated, {352, 352}, 128, true, true},
};

// On a GPU a panel is for one block, two or four, so that there are blocks for its multiprocessors.
const std::vector<Case> kWideCases = {
    {DType::kF16, LinearForm::kPlain, {3300}, 272, false, true},
    {DType::kF16, LinearForm::kPlain, {6500}, 144, true, false},
    {DType::kBF16, LinearForm::kGated, {1650, 1650}, 144, true, false},
    {DType::kBF16, LinearForm::kGated, {3250, 3250}, 80, false, true},
};

std::vector<Case> CasesFor(const OpTest& test) {
  std::vector<Case> cases = kCases;
  if (test.cuda() && !test.simulated()) cases.insert(cases.end(), kWideCases.begin(), kWideCases.end());
  return cases;
}

// x as the op sees it: on CUDA rounded to the weights' type.
TensorView Seen(OpTest& test, const TensorView& x, DType weights) {
  if (!test.cuda()) return x;
  std::vector<float> values = test.Read(x);
  WithFloatType(weights, [&]<typename T>(T) {
    for (float& value : values) value = ToF32(FromF32<T>(value));
  });
  return test.From(values, DType::kF32, {x.dim(0), x.dim(1)});
}

// |error| <= in_features * epsilon * sum |x w|: each of the in_features roundings is at most half an ulp of a partial
// sum. With normal x and w that sum is below 1.3 * in_features with margin; silu-mul multiplies two such values, each
// below 6 * sqrt(in_features), and so their errors. (Tensor cores may cut a partial sum off where others round it: a
// whole ulp, of what is itself below 6 * sqrt(in_features).)
double Tolerance(const Case& c) {
  const double n = static_cast<double>(c.in_features);
  const double sum = 1.3 * n * n * 0x1p-24 + 0x1p-20;
  return c.form == LinearForm::kGated ? sum * 12 * std::sqrt(n) : sum;
}

TEST_CASE("linear equals its reference: all types, forms, epilogues, odd sizes") {
  ForEachDevice([](OpTest& test) {
    for (const Case& c : CasesFor(test)) {
      const LinearWeight weight = Pack(test, c);
      for (int64_t rows : {1, 2, 3, 4, 5, 6, 7, 9, 17, 33, 64, 65, 130, 520}) {
        // On CUDA there is one kernel for 1 to 8 rows, and one for each of the others up to 64.
        if (test.slow() && rows > 1 && rows < 7) continue;
        if (rows == 520 && (!test.cuda() || weight.out_features > 100)) continue;
        const TensorView x = test.Random(DType::kF32, {rows, c.in_features}, 11);
        const TensorView expected = test.New(DType::kF32, {rows, weight.out_features});
        const TensorView out = test.New(DType::kF32, {rows, weight.out_features});
        const TensorView residual =
            c.residual ? test.Random(DType::kF32, {rows, weight.out_features}, 13) : TensorView();
        LinearReference({Seen(test, x, c.dtype), weight, residual, expected});
        Linear(test.lane(), {x, weight, residual, out});
        CAPTURE(weight.panels.ToString());
        CAPTURE(rows);
        CHECK(MaxDifference(test.Read(out), test.Read(expected)) <= Tolerance(c));
      }
    }
  });
}

// The reference reads packed weights, so packing has a test of its own: against the sources.
TEST_CASE("packing puts every feature of every source where the op reads it") {
  ForEachDevice([](OpTest& test) {
    const int64_t in_features = 3;
    const std::vector<float> a{1, 2, 3, 4, 5, 6}, b{7, 8, 9};
    const std::vector<TensorView> sources{test.From(a, DType::kF16, {2, 3}), test.From(b, DType::kF16, {1, 3})};
    LinearWeight weight{
        .in_features = in_features, .out_features = 3, .panels = test.New(DType::kF16, {1, 3, kPanelWidth})};
    PackLinear(test.lane(), {sources, LinearForm::kPlain, in_features, 3, 0, weight.panels});
    const TensorView identity = test.From(std::vector<float>{1, 0, 0, 0, 1, 0, 0, 0, 1}, DType::kF32, {3, 3});
    const TensorView out = test.New(DType::kF32, {3, 3});
    Linear(test.lane(), {identity, weight, {}, out});
    CHECK(test.Read(out) == std::vector<float>{1, 4, 7, 2, 5, 8, 3, 6, 9});
  });
}

// Weights that stream come in runs of panels, each used alone.
TEST_CASE("linear: parts of a weight give the bits of the whole") {
  ForEachDevice([](OpTest& test) {
    for (const Case& c : CasesFor(test)) {
      const LinearWeight weight = Pack(test, c);
      for (const int64_t rows : {3, 40, 70}) {
        const TensorView x = test.Random(DType::kF32, {rows, c.in_features}, 11);
        const TensorView residual =
            c.residual ? test.Random(DType::kF32, {rows, weight.out_features}, 13) : TensorView();
        const TensorView whole = test.New(DType::kF32, {rows, weight.out_features});
        const TensorView parts = test.New(DType::kF32, {rows, weight.out_features});
        Linear(test.lane(), {x, weight, residual, whole});
        const int64_t panels = weight.panels.dim(0), run = std::max<int64_t>(2, panels / 4);
        for (int64_t first = 0; first < panels; first += run) {
          const LinearPart part = PartOf(weight, first, weight.panels.Slice(0, first, std::min(first + run, panels)));
          const auto columns = [&](const TensorView& t) {
            return t ? t.Slice(1, part.first_feature, part.first_feature + part.weight.out_features) : t;
          };
          Linear(test.lane(), {x, part.weight, columns(residual), columns(parts)});
        }
        CAPTURE(weight.panels.ToString());
        CAPTURE(rows);
        CHECK(test.Read(parts) == test.Read(whole));
      }
    }
  });
}

// On CUDA sums of many rows lie in scratch memory: some panels' at a time, and none where the inputs leave no room.
TEST_CASE("linear of many rows: more panels than are multiplied at a time") {
  ForEachDevice([](OpTest& test) {
    for (const Case& c : {Case{DType::kF16, LinearForm::kPlain, {16450}, 8, true, true},
                          {DType::kF16, LinearForm::kGated, {8300, 8300}, 8, false, false}}) {
      const LinearWeight weight = Pack(test, c);
      const TensorView x = test.Random(DType::kF32, {65, c.in_features}, 11);
      const TensorView residual = c.residual ? test.Random(DType::kF32, {65, weight.out_features}, 13) : TensorView();
      const TensorView expected = test.New(DType::kF32, {65, weight.out_features});
      const TensorView out = test.New(DType::kF32, {65, weight.out_features});
      LinearReference({Seen(test, x, c.dtype), weight, residual, expected});
      Linear(test.lane(), {x, weight, residual, out});
      CHECK(MaxDifference(test.Read(out), test.Read(expected)) <= Tolerance(c));
    }
  });
}

TEST_CASE("linear of many rows: inputs too long for scratch memory") {
  ForEachDevice([](OpTest& test) {
    const Case c{DType::kF32, LinearForm::kPlain, {3}, 33000, true, true};
    const LinearWeight weight = Pack(test, c);
    const TensorView x = test.Random(DType::kF32, {66, c.in_features}, 11);
    const TensorView residual = test.Random(DType::kF32, {66, 3}, 13);
    const TensorView out = test.New(DType::kF32, {66, 3});
    const TensorView alone = test.New(DType::kF32, {1, 3});
    Linear(test.lane(), {x, weight, residual, out});
    for (const int64_t row : {0, 63, 65}) {
      Linear(test.lane(), {x.Slice(0, row, row + 1), weight, residual.Slice(0, row, row + 1), alone});
      CHECK(test.Read(out.Slice(0, row, row + 1)) == test.Read(alone));
    }
  });
}

TEST_CASE("packing some panels gives those of the whole") {
  ForEachDevice([](OpTest& test) {
    for (const auto& [form, features] : {std::pair{LinearForm::kPlain, 200}, {LinearForm::kGated, 100}}) {
      std::vector<TensorView> sources{test.Random(DType::kF16, {features, 5}, 1)};
      if (form == LinearForm::kGated) sources.push_back(test.Random(DType::kF16, {features, 5}, 2));
      const int64_t panels = LinearPanels(form, features);
      const TensorView whole = test.New(DType::kF16, {panels, 5, kPanelWidth});
      PackLinear(test.lane(), {sources, form, 5, features, 0, whole});
      const TensorView part = test.New(DType::kF16, {panels - 1, 5, kPanelWidth});
      PackLinear(test.lane(), {sources, form, 5, features, 1, part});
      CHECK(test.Read(part) == test.Read(whole.Slice(0, 1, panels)));
    }
  });
}

// Around x lies what must not be read: NaN, which no weight of 0 makes 0.
TEST_CASE("linear: the residual may be the output, rows may be strided") {
  ForEachDevice([](OpTest& test) {
    for (const Case& c : {Case{DType::kF16, LinearForm::kPlain, {64}, 36, false, true},
                          {DType::kBF16, LinearForm::kGated, {100, 100}, 36, true, true}}) {
      const LinearWeight weight = Pack(test, c);
      for (const auto& [offset, stride] : {std::pair<int64_t, int64_t>{5, 100}, {4, 101}, {4, 100}}) {
        for (const int64_t rows : {1, 7, 40, 70}) {
          std::vector<float> values = RandomNormal((rows + 1) * stride, 3);
          for (int64_t i = 0; i < std::ssize(values); ++i) {
            const int64_t k = i % stride - offset;
            if (i >= rows * stride || k < 0 || k >= c.in_features) values[i] = std::nanf("");
          }
          const TensorView x = test.From(values, DType::kF32, {rows + 1, stride})
                                   .Slice(0, 0, rows)
                                   .Slice(1, offset, offset + c.in_features);
          const TensorView out = test.Random(DType::kF32, {rows, weight.out_features}, 4);
          const TensorView expected = test.New(DType::kF32, {rows, weight.out_features});
          LinearReference({Seen(test, x, c.dtype), weight, out, expected});
          Linear(test.lane(), {x, weight, out, out});
          CAPTURE(stride);
          CAPTURE(rows);
          CHECK(MaxDifference(test.Read(out), test.Read(expected)) <= Tolerance(c));
        }
      }
    }
  });
}

TEST_CASE("linear: a row's bits do not depend on the rows around it") {
  ForEachDevice([](OpTest& test) {
    for (const Case& c : CasesFor(test)) {
      if (test.slow() && c.in_features * LinearPanels(c.form, c.features[0]) > 500) continue;
      const LinearWeight weight = Pack(test, c);
      const TensorView x = test.Random(DType::kF32, {512, c.in_features}, 17);
      const TensorView residual = c.residual ? test.Random(DType::kF32, {512, weight.out_features}, 19) : TensorView();
      const TensorView out = test.New(DType::kF32, {512, weight.out_features});
      CheckRowInvariance(test, [&](int64_t first, int64_t rows) {
        const auto slice = [&](const TensorView& t) { return t ? t.Slice(0, first, first + rows) : t; };
        Linear(test.lane(), {slice(x), weight, slice(residual), slice(out)});
        return test.Read(slice(out));
      });
    }
  });
}

}  // namespace
}  // namespace triforce
