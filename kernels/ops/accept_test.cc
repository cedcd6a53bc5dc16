#include "kernels/ops/accept.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <vector>

#include "kernels/ops/op_testing.h"

namespace triforce {
namespace {

// Weights of a law: most of a few, many of 0, of any sum.
TensorView Laws(OpTest& test, int64_t rows, int64_t vocab, uint64_t seed) {
  std::vector<float> weights = RandomNormal(rows * vocab, seed, 2.0f);
  for (float& w : weights) w = w < 0 ? 0 : std::exp(w);
  for (int64_t row = 0; row < rows; ++row) weights[row * vocab + row % vocab] += 0.5f;
  return test.From(weights, DType::kF32, {rows, vocab});
}

// A token of each row's law.
TensorView Tokens(OpTest& test, const TensorView& laws, uint64_t seed) {
  std::vector<int32_t> tokens;
  for (int64_t row = 0; row < laws.dim(0); ++row) {
    int64_t token = static_cast<int64_t>(seed * 7919 + row * 31) % laws.dim(1);
    while (!(laws.as<float>()[row * laws.dim(1) + token] > 0)) token = (token + 1) % laws.dim(1);
    tokens.push_back(static_cast<int32_t>(token));
  }
  return test.From(tokens);
}

TEST_CASE("accept equals its reference: laws that agree, that differ, that share nothing") {
  ForEachDevice([](OpTest& test) {
    const int runs = test.slow() ? 4 : 40;
    std::vector<int> accepted(8);
    for (const int64_t vocab : {1, 5, 300, 4096}) {
      for (int run = 0; run < runs; ++run) {
        const int64_t proposals = run % 7;
        const TensorView p = Laws(test, proposals + 1, vocab, run + 1);
        const TensorView q =
            run % 3 == 0 ? p.Slice(0, 0, proposals) : Laws(test, proposals, vocab, run % 3 == 1 ? run + 1 : run + 99);
        const TensorView tokens = Tokens(test, q, run);
        const TensorView out = test.From(std::vector<int32_t>(proposals + 2, 7));
        const TensorView expected = test.From(std::vector<int32_t>(proposals + 2, 7));
        const RandomCounter first{.sequence = 3, .round = static_cast<uint32_t>(run), .level = 1, .index = 10};
        const uint64_t seed = 1234567890123 + run;
        Accept(test.lane(), {p, q, tokens, seed, first, out});
        AcceptReference({p, q, tokens, seed, first, expected});
        CAPTURE(vocab);
        CAPTURE(run);
        const std::vector<int32_t> result = test.ReadInts(out);
        CHECK(result == test.ReadInts(expected));
        REQUIRE(result[0] >= 0);
        ++accepted[result[0]];
        if (run % 3 == 0) CHECK(result[0] == proposals);
      }
    }
    CHECK(std::ranges::count_if(accepted, [](int count) { return count > 0; }) >= (test.slow() ? 4 : 6));
  });
}

TEST_CASE("accept: where the proposal's law has all of p, what is drawn instead is none of q's alone") {
  ForEachDevice([](OpTest& test) {
    const TensorView p = test.From(std::vector<float>{0, 0, 3, 1, 0, 0, 1, 1}, DType::kF32, {2, 4});
    const TensorView q = test.From(std::vector<float>{1, 1, 0, 0}, DType::kF32, {1, 4});
    const TensorView tokens = test.From(std::vector<int32_t>{1}), out = test.New(DType::kI32, {3});
    int third = 0;
    const int runs = test.slow() ? 16 : 400;
    for (int run = 0; run < runs; ++run) {
      Accept(test.lane(), {p, q, tokens, static_cast<uint64_t>(run), {}, out});
      const std::vector<int32_t> result = test.ReadInts(out);
      CHECK(result[0] == 0);
      CHECK((result[1] == 2 || result[1] == 3));
      CHECK(result[2] == -1);
      third += result[1] == 2;
    }
    // Three in four; the bound is five standard deviations.
    CHECK(std::abs(third - runs * 0.75) <= 5 * std::sqrt(runs * 0.1875));
  });
}

TEST_CASE("accept: laws that are none are told") {
  ForEachDevice([](OpTest& test) {
    const float inf = INFINITY;
    for (const float bad : {0.0f, inf, static_cast<float>(NAN)}) {
      const TensorView p = test.From(std::vector<float>{bad, 0, 1, 1}, DType::kF32, {2, 2});
      const TensorView q = test.From(std::vector<float>{1, 1}, DType::kF32, {1, 2});
      const TensorView tokens = test.From(std::vector<int32_t>{1}), out = test.New(DType::kI32, {3});
      Accept(test.lane(), {p, q, tokens, 1, {}, out});
      CHECK(test.ReadInts(out)[0] == -1);
    }
  });
}

TEST_CASE("accept: round and index of the counters may stand on the device") {
  ForEachDevice([](OpTest& test) {
    constexpr int64_t kProposals = 4, kVocab = 300;
    const TensorView p = Laws(test, kProposals + 1, kVocab, 1), q = Laws(test, kProposals, kVocab, 2);
    const TensorView tokens = Tokens(test, q, 3), base = test.From(std::vector<int64_t>{0, 0});
    const TensorView out = test.New(DType::kI32, {kProposals + 2}), expected = test.New(DType::kI32, {kProposals + 2});
    const auto queue = [&] { Accept(test.lane(), {p, q, tokens, 5, {.round = 1, .level = 2}, out, base}); };
    std::vector<std::function<void()>> changes;
    for (int64_t round = 0; round < 12; ++round) {
      const RandomCounter first{
          .round = static_cast<uint32_t>(1 + round), .level = 2, .index = static_cast<uint16_t>(3 * round)};
      AcceptReference({p, q, tokens, 5, first, expected});
      test.Write(std::vector<int64_t>{round, 3 * round}, base);
      queue();
      CHECK(test.ReadInts(out) == test.ReadInts(expected));
      changes.push_back([&test, base, round] { test.Write(std::vector<int64_t>{round, 3 * round}, base); });
    }
    CheckReplays(test, queue, changes, [&] {
      std::vector<float> decided;
      for (const int32_t i : test.ReadInts(out)) decided.push_back(static_cast<float>(i));
      return decided;
    });
  });
}

TEST_CASE("accept: proposals' laws that are none are told, too") {
  ForEachDevice([](OpTest& test) {
    const TensorView p = test.From(std::vector<float>{1, 1, 1, 1}, DType::kF32, {2, 2});
    const TensorView q = test.From(std::vector<float>{NAN, 1}, DType::kF32, {1, 2});
    const TensorView tokens = test.From(std::vector<int32_t>{1}), out = test.New(DType::kI32, {3});
    Accept(test.lane(), {p, q, tokens, 1, {}, out});
    CHECK(test.ReadInts(out)[0] == -1);
  });
}

// The op's rows are proposals of one sequence, each of which is looked at only where all before it were accepted. So no
// row stands alone, as CheckRowInvariance would have it.
TEST_CASE("accept: what is decided does not depend on the number of proposals behind it") {
  ForEachDevice([](OpTest& test) {
    constexpr int64_t kMost = 6, kVocab = 300;
    for (uint64_t run = 1; run <= (test.slow() ? 3 : 30); ++run) {
      const TensorView p = Laws(test, kMost + 1, kVocab, run);
      const TensorView q = run % 3 == 0 ? p.Slice(0, 0, kMost) : Laws(test, kMost, kVocab, run + run % 2 * 50);
      const TensorView tokens = Tokens(test, q, run);
      const auto decide = [&](int64_t proposals) {
        const TensorView out = test.New(DType::kI32, {proposals + 2});
        Accept(test.lane(), {p.Slice(0, 0, proposals + 1),
                             q.Slice(0, 0, proposals),
                             tokens.Slice(0, 0, proposals),
                             run,
                             {.sequence = 3, .index = 10},
                             out});
        return test.ReadInts(out);
      };
      const std::vector<int32_t> whole = decide(kMost);
      for (int64_t proposals = 0; proposals < kMost; ++proposals) {
        CAPTURE(run);
        CAPTURE(proposals);
        const std::vector<int32_t> some = decide(proposals);
        CHECK(some[0] == std::min<int64_t>(whole[0], proposals));
        const int64_t same = some[0] + (whole[0] < proposals ? 1 : 0);  // what is drawn behind a rejection, too
        CHECK(std::equal(some.begin() + 1, some.begin() + 1 + same, whole.begin() + 1));
      }
    }
  });
}

}  // namespace
}  // namespace triforce
