#include "kernels/ops/hand_out.h"

#include <doctest/doctest.h>

#include <vector>

#include "kernels/ops/op_testing.h"

namespace triforce {
namespace {

std::vector<int64_t> ReadLongs(OpTest& test, const TensorView& t) {
  test.lane().Synchronize();
  return {t.as<int64_t>(), t.as<int64_t>() + t.elements()};
}

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
    CHECK(ReadLongs(test, state) == std::vector<int64_t>{5, 2, 1, 8, 106, 8, 206, 1005, 2005});
    round({1, 10, 11, -1, -1});
    CHECK(ReadLongs(test, state) == std::vector<int64_t>{7, 3, 1, 8, 109, 8, 209, 1007, 2007});
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

}  // namespace
}  // namespace triforce
