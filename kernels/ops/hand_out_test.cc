#include "kernels/ops/hand_out.h"

#include <doctest/doctest.h>

#include <memory>
#include <vector>

#include "kernels/ops/accept.h"
#include "kernels/ops/categorical.h"
#include "kernels/ops/op_testing.h"

namespace triforce {
namespace {

std::vector<int64_t> ReadLongs(OpTest& test, const TensorView& t) {
  test.lane().Synchronize();
  return {t.as<int64_t>(), t.as<int64_t>() + t.elements()};
}

// No check of row invariance: tokens and laws are moved, and every one is compared, in rounds of one row and of
// several.
TEST_CASE("hand_out: tokens, laws and numbers of several rounds, behind one another") {
  ForEachDevice([](OpTest& test) {
    constexpr int64_t kVocab = 700, kMost = 9;
    const TensorView decided = test.From(std::vector<int32_t>{0, 0, 0, 0, 0});  // three proposals
    const TensorView laws = test.Random(DType::kF32, {4, kVocab}, 1);
    const std::vector<float> law_values = test.Read(laws);
    const TensorView state = test.From(std::vector<int64_t>{0, 0, 0, 8, 100, 8, 200, 1000, 2000});
    const TensorView last = test.From(std::vector<int32_t>{31, 32});
    const TensorView tokens = test.From(std::vector<int32_t>(kMost, -7)),
                     rounds = test.From(std::vector<int32_t>(5, -7));
    const TensorView rows = test.New(DType::kF32, {kMost, kVocab});
    const HandOutArgs args{decided, laws, state, last, tokens, rows, rounds};
    const auto round = [&](const std::vector<int32_t>& what) {
      test.lane().Copy(decided.data(), what.data(), decided.bytes(), "decided");
      HandOut(test.lane(), args);
      test.lane().Synchronize();
    };
    round({0, 5, -1, -1, -1});
    CHECK(ReadLongs(test, state) == std::vector<int64_t>{1, 1, 0, 8, 103, 8, 202, 1001, 2001});
    CHECK(test.ReadInts(last) == std::vector<int32_t>{32, 5});
    round({3, 6, 7, 8, 9});
    CHECK(ReadLongs(test, state) == std::vector<int64_t>{5, 2, 0, 8, 106, 8, 206, 1005, 2005});
    CHECK(test.ReadInts(last) == std::vector<int32_t>{8, 9});
    round({-1, 6, 7, 8, 9});  // no law: nothing happens
    round({0, -1, 7, 8, 9});  // nothing could be drawn: the same
    CHECK(ReadLongs(test, state) == std::vector<int64_t>{5, 2, 2, 8, 106, 8, 206, 1005, 2005});
    CHECK(test.ReadInts(last) == std::vector<int32_t>{8, 9});
    round({1, 10, 11, -1, -1});
    CHECK(ReadLongs(test, state) == std::vector<int64_t>{7, 3, 2, 8, 109, 8, 209, 1007, 2007});
    CHECK(test.ReadInts(last) == std::vector<int32_t>{10, 11});
    CHECK(test.ReadInts(tokens) == std::vector<int32_t>{5, 6, 7, 8, 9, 10, 11, -7, -7});
    CHECK(test.ReadInts(rounds) == std::vector<int32_t>{0, 3, 1, -7, -7});
    const std::vector<float> found = test.Read(rows);
    const std::vector<int64_t> law_of = {0, 0, 1, 2, 3, 0, 1};
    for (int64_t i = 0; i < kMost * kVocab; ++i) {
      const size_t row = i / kVocab;
      if (found[i] != (row < law_of.size() ? law_values[law_of[row] * kVocab + i % kVocab] : 0)) FAIL(i);
    }
  });
}

// Pearson's statistic of `counts` against a law, four degrees of freedom: above 30 once in 200,000 times.
double ChiSquare(const std::vector<int64_t>& counts, const float* law) {
  int64_t all = 0;
  for (const int64_t count : counts) all += count;
  double sum = 0;
  for (size_t i = 0; i < counts.size(); ++i) {
    const double expected = static_cast<double>(all) * static_cast<double>(law[i]);
    const double off = static_cast<double>(counts[i]) - expected;
    sum += off * off / expected;
  }
  return sum;
}

TEST_CASE("hand_out: what rounds of categorical, accept and hand_out bring has the verifier's law, place by place") {
  ForEachDevice([](OpTest& test) {
    constexpr int64_t kVocab = 5, kDrafts = 2;
    const int64_t rounds = test.slow() ? 600 : 20000;
    const std::vector<float> p = {.1f, .2f, .3f, .2f, .2f, .5f, .1f, .1f, .1f, .2f, .3f, .3f, .2f, .1f, .1f};
    const std::vector<float> q = {.4f, .1f, .1f, .2f, .2f, .1f, .3f, .3f, .2f, .1f};
    const TensorView kept = test.From(p, DType::kF32, {kDrafts + 1, kVocab});
    const TensorView proposed = test.From(q, DType::kF32, {kDrafts, kVocab});
    const TensorView ids = test.New(DType::kI32, {2 + kDrafts}), decided = test.New(DType::kI32, {kDrafts + 2});
    const TensorView state = test.From(std::vector<int64_t>{0, 0, 0, 3, 0, 3, 0});
    const TensorView tokens = test.New(DType::kI32, {rounds * (kDrafts + 1)}),
                     accepted = test.New(DType::kI32, {rounds});
    const auto queue = [&] {
      Categorical(test.lane(), {.probabilities = proposed,
                                .random_bits = {},
                                .out = ids.Slice(0, 2, 2 + kDrafts),
                                .seed = 77,
                                .first = {.level = 1},
                                .base = state.Slice(0, kProposerCounter, kProposerCounter + 2)});
      Accept(test.lane(), {.laws = kept,
                           .proposed = proposed,
                           .tokens = ids.Slice(0, 2, 2 + kDrafts),
                           .seed = 77,
                           .first = {.level = 2},
                           .out = decided,
                           .base = state.Slice(0, kAccepterCounter, kAccepterCounter + 2)});
      HandOut(test.lane(), {decided, kept, state, ids.Slice(0, 0, 2), tokens, {}, accepted});
    };
    const bool replays = test.lane().captures();
    const std::unique_ptr<Graph> graph = replays ? test.lane().Capture(queue) : nullptr;
    for (int64_t round = 0; round < rounds; ++round) replays ? test.lane().Replay(*graph) : queue();
    const std::vector<int32_t> drawn = test.ReadInts(tokens), counts = test.ReadInts(accepted);
    std::vector<std::vector<int64_t>> by_place(kDrafts + 1, std::vector<int64_t>(kVocab));
    size_t at = 0;
    for (const int32_t count : counts) {
      for (int32_t place = 0; place <= count; ++place) ++by_place[place][drawn[at++]];
    }
    CHECK(ReadLongs(test, state)[kHandedOut] == static_cast<int64_t>(at));
    for (int64_t place = 0; place <= kDrafts; ++place) {
      CAPTURE(place);
      CHECK(ChiSquare(by_place[place], &p[place * kVocab]) < 30);
    }
    // Of the draft's own law it would be far off.
    CHECK(ChiSquare(by_place[0], q.data()) > 100);
  });
}

}  // namespace
}  // namespace triforce
