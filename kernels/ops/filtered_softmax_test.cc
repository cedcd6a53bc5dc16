#include "kernels/ops/filtered_softmax.h"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "kernels/ops/op_testing.h"

namespace triforce {
namespace {

std::vector<float> Filtered(OpTest& test, const std::vector<float>& logits, const SamplingFilter& filter) {
  const TensorView t = test.From(logits, DType::kF32, {1, static_cast<int64_t>(logits.size())});
  FilteredSoftmax(test.lane(), {t, filter, t});  // in place
  return test.Read(t);
}

const std::vector<SamplingFilter> kFilters = {
    {},
    {.temperature = 0},
    {.temperature = 0.6f, .top_p = 0.9f},
    {.temperature = 1.5f, .top_k = 50},
    {.top_k = 1},
    {.top_p = 1e-6f},
    {.top_p = 0.9999f},
    {.min_p = 0.05f},
    {.min_p = 1},
    {.temperature = 0.8f, .top_k = 40, .top_p = 0.95f, .min_p = 0.02f},
};

// An exponential is off by a few ulps, arguments reach 60 and are off by half an ulp of that: 64 * 2^-24 relative, and
// sums as much again; probabilities are at most 1.
constexpr double kTolerance = 128 * 0x1p-24;

TEST_CASE("filtered_softmax equals its reference: what is kept, how much, sums to 1") {
  ForEachDevice([](OpTest& test) {
    for (int64_t vocab : {1, 2, 17, 320, 4096, 128256}) {
      for (const SamplingFilter& filter : kFilters) {
        const TensorView logits = test.Random(DType::kF32, {3, vocab}, vocab, 4.0f);
        const TensorView out = test.New(DType::kF32, {3, vocab}), expected = test.New(DType::kF32, {3, vocab});
        FilteredSoftmaxReference({logits, filter, expected});
        FilteredSoftmax(test.lane(), {logits, filter, out});
        const std::vector<float> a = test.Read(out), b = test.Read(expected);
        CAPTURE(vocab);
        CAPTURE(filter.top_k);
        CAPTURE(filter.top_p);
        CHECK(MaxDifference(a, b) <= kTolerance);
        // Weights are rounded to f32, so that the cut may fall differently among tokens of no weight to speak of.
        double differently_kept = 0;
        for (size_t i = 0; i < a.size(); ++i) differently_kept += (a[i] > 0) != (b[i] > 0) ? a[i] + b[i] : 0;
        CHECK(differently_kept <= 1e-6);
        CHECK(std::accumulate(a.begin(), a.end(), 0.0) == doctest::Approx(3).epsilon(1e-5));
      }
    }
  });
}

TEST_CASE("filtered_softmax: ties") {
  ForEachDevice([](OpTest& test) {
    const std::vector<float> logits{1, 2, 2, 2, 0};
    CHECK(Filtered(test, logits, {.temperature = 0}) == std::vector<float>{0, 1, 0, 0, 0});
    const auto third = [](float p) { return p == doctest::Approx(1.0 / 3); };
    const std::vector<float> top_k = Filtered(test, logits, {.top_k = 2});  // all that equal the second
    CHECK((third(top_k[1]) && third(top_k[2]) && third(top_k[3]) && top_k[0] == 0));
    CHECK(Filtered(test, logits, {.top_p = 0.5f}) == std::vector<float>{0, 0.5f, 0.5f, 0, 0});  // lowest ids first
    CHECK(Filtered(test, logits, {.top_p = 0.1f}) == std::vector<float>{0, 1, 0, 0, 0});
    // Far more equal ones than are likely to be kept: the lowest ids, exactly as many as it takes.
    for (const int64_t kept : {1, 63, 64, 65, 700}) {
      const float top_p = (static_cast<float>(kept) - 0.5f) / 1003;
      const std::vector<float> all = Filtered(test, std::vector<float>(1003, 1.5f), {.top_p = top_p});
      for (int64_t i = 0; i < 1003; ++i) CHECK((all[i] > 0) == (i < kept));
    }
    const int64_t vocab = 40000, kept = 30001;
    const std::vector<float> all = Filtered(test, std::vector<float>(vocab, -3.0f), {.top_p = (kept - 0.5f) / vocab});
    for (int64_t i = 0; i < vocab; ++i) REQUIRE((all[i] > 0) == (i < kept));
    // 0 and -0 are equal.
    CHECK(Filtered(test, {-1, -0.0f, 0, -0.0f, 0}, {.top_k = 1}) == std::vector<float>{0, 0.25f, 0.25f, 0.25f, 0.25f});
    CHECK(Filtered(test, {-1, -0.0f, 0, -0.0f}, {.temperature = 0}) == std::vector<float>{0, 1, 0, 0});
  });
}

TEST_CASE("filtered_softmax: a temperature next to nothing leaves the largest, and those that equal it") {
  ForEachDevice([](OpTest& test) {
    const float infinity = std::numeric_limits<float>::infinity();
    for (const float temperature : {1e-6f, 1e-20f, 1e-38f, 1e-45f}) {
      CAPTURE(temperature);
      for (const float shift : {0.0f, 25.0f, -25.0f, 1e6f}) {
        const std::vector<float> logits{shift - 1, shift + 2, -infinity, shift + 2, shift};
        for (const SamplingFilter& filter : {SamplingFilter{.temperature = temperature},
                                             {.temperature = temperature, .top_k = 3, .top_p = 0.95f, .min_p = 0.1f}}) {
          CHECK(Filtered(test, logits, filter) == std::vector<float>{0, 0.5f, 0, 0.5f, 0});
        }
        CHECK(Filtered(test, {shift, shift + 1, shift - 1}, {.temperature = temperature}) ==
              std::vector<float>{0, 1, 0});
      }
    }
  });
}

// The values are those of transformers' warpers, by hand: softmax of log(8, 4, 2, 1, 1) is 1/2, 1/4, 1/8, 1/16, 1/16.
TEST_CASE("filtered_softmax: each filter works on what the one before has left") {
  ForEachDevice([](OpTest& test) {
    const std::vector<float> logits{std::log(1.0f), std::log(8.0f), std::log(4.0f), std::log(2.0f), std::log(1.0f)};
    const auto check = [&](const SamplingFilter& filter, const std::vector<float>& expected) {
      CHECK(MaxDifference(Filtered(test, logits, filter), expected) < 1e-6);
    };
    check({.top_k = 3, .top_p = 0.8f}, {0, 2 / 3.0f, 1 / 3.0f, 0, 0});    // 4/7 + 2/7 = .857 reaches .8
    check({.top_p = 0.8f}, {0, 4 / 7.0f, 2 / 7.0f, 1 / 7.0f, 0});         // 1/2 + 1/4 = .75 does not
    check({.temperature = 0.5f, .min_p = 0.07f}, {0, 0.8f, 0.2f, 0, 0});  // 1, 1/4, 1/16, ...
    check({.top_p = 0.8f, .min_p = 0.3f}, {0, 2 / 3.0f, 1 / 3.0f, 0, 0});
  });
}

TEST_CASE("filtered_softmax: minus infinity has no probability, NaN does no harm") {
  ForEachDevice([](OpTest& test) {
    const float inf = std::numeric_limits<float>::infinity();
    for (const SamplingFilter& filter : kFilters) {
      CHECK(Filtered(test, {-inf, -inf, 3, -inf}, filter) == std::vector<float>{0, 0, 1, 0});
      Filtered(test, std::vector<float>(100, std::nanf("")), filter);
      Filtered(test, std::vector<float>(100, inf), filter);
    }
  });
}

TEST_CASE("filtered_softmax: a row's bits do not depend on the rows around it") {
  ForEachDevice([](OpTest& test) {
    const TensorView logits = test.Random(DType::kF32, {512, 333}, 5, 3.0f), out = test.New(DType::kF32, {512, 333});
    for (const SamplingFilter& filter : {kFilters[0], kFilters.back()}) {
      CheckRowInvariance(test, [&](int64_t first, int64_t rows) {
        const auto slice = [&](const TensorView& t) { return t.Slice(0, first, first + rows); };
        FilteredSoftmax(test.lane(), {slice(logits), filter, slice(out)});
        return test.Read(slice(out));
      });
    }
  });
}

}  // namespace
}  // namespace triforce
