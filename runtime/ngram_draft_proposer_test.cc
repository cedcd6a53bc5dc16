#include "runtime/ngram_draft_proposer.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <vector>

namespace triforce {
namespace {

std::vector<TokenId> Tokens(const std::vector<int>& ids) {
  std::vector<TokenId> tokens;
  for (const int id : ids) tokens.push_back(TokenId{id});
  return tokens;
}

// A draft that says 7, whatever came before.
class Sevens final : public Verifier {
 public:
  explicit Sevens(std::vector<TokenId> tokens) : told_(std::move(tokens)) {}
  int64_t vocab() const override { return 8; }
  int64_t tokens() const override { return std::ssize(told_); }
  void Rewind(int64_t tokens) override { told_.resize(tokens); }
  void Run(std::span<const TokenId> tokens, std::span<float> laws) override {
    told_.insert(told_.end(), tokens.begin(), tokens.end());
    std::fill(laws.begin(), laws.end(), 0.0f);
    for (size_t row = 0; row < laws.size() / 8; ++row) laws[row * 8 + 7] = 1;
    ++passes;
  }

  int passes = 0;
  const std::vector<TokenId>& told() const { return told_; }

 private:
  std::vector<TokenId> told_;
};

// A text that repeats itself without end, and both proposers on it.
struct Proposers {
  explicit Proposers(const NgramDraftOptions& options)
      : tokens(Tokens({1, 2, 3, 1, 2, 3, 1, 2, 3})),
        model(std::vector<TokenId>(tokens.begin(), tokens.end() - 1)),
        lookup(tokens, 1000),
        draft(model, chance, tokens, {.most = options.most}),
        both(lookup, draft, std::ssize(tokens), options) {}

  // One call, after which the text goes on with `next`; whether the lookup was taken.
  bool Call(int64_t most, const std::vector<int>& next) {
    const int64_t before = both.stats().lookups, size = std::ssize(tokens);
    proposed.clear();
    for (const Proposal& p : both.Propose(most, 1)) {
      proposed.push_back(ToInt(p.token));
      CHECK(p.law.probability(p.token) == 1);
    }
    both.Continue(size, Tokens(next));
    for (const int id : next) tokens.push_back(TokenId{id});
    return both.stats().lookups > before;
  }
  // What repeats the text.
  int Next() const { return 1 + static_cast<int>(tokens.size() % 3); }

  std::vector<TokenId> tokens;
  SeededChance chance{1};
  Sevens model;
  NgramProposer lookup;
  DraftProposer draft;
  NgramDraftProposer both;
  std::vector<int> proposed;
};

TEST_CASE("the lookup is taken where it promises more, and the draft where nothing was found") {
  Proposers trusting({.most = 3, .shortest_rate = 1});
  CHECK(trusting.Call(3, {1, 2, 3, 1}));
  CHECK(trusting.proposed == std::vector<int>{1, 2, 3});
  CHECK(trusting.Call(2, {2, 5}));
  CHECK(trusting.both.stats().tested == 5);
  CHECK(trusting.both.stats().accepted == 4);
  CHECK(trusting.model.passes == 0);
  CHECK_FALSE(trusting.Call(2, {7, 7}));  // 2 5 is new
  CHECK(trusting.proposed == std::vector<int>{7, 7});
  // The draft has caught up in one pass with all that it was not asked for, and gone on from there.
  CHECK(trusting.model.passes == 2);
  std::vector<TokenId> expected = trusting.tokens;
  expected.pop_back();
  CHECK(trusting.model.told() == expected);
  Proposers distrusting({.most = 3, .shortest_rate = 0, .rate_per_token = 0});
  CHECK_FALSE(distrusting.Call(3, {1, 2, 3, 1}));
  CHECK(distrusting.proposed == std::vector<int>{7, 7, 7});
}

TEST_CASE("a draft pass that costs much makes the lookup worth more") {
  const NgramDraftOptions even{.most = 1, .draft_rate = 0.8, .shortest_rate = 0.6, .rate_per_token = 0};
  CHECK_FALSE(Proposers(even).Call(1, {1}));
  NgramDraftOptions dear = even;
  dear.draft_cost = 0.2;
  CHECK(Proposers(dear).Call(1, {1}));
}

TEST_CASE("what comes true decides: the lookup is taken up by what it would have said, and dropped when it is wrong") {
  Proposers p({.most = 2, .draft_rate = 0.9, .shortest_rate = 0.3, .rate_per_token = 0});
  int drafted = 0;
  while (!p.Call(2, {p.Next()})) {
    REQUIRE(++drafted < 40);
    CHECK(p.proposed == std::vector<int>{7, 7});
  }
  CHECK(drafted > 2);
  CHECK(p.Call(2, {p.Next()}));
  // From now on the draft is right.
  int looked_up = 0;
  while (true) {
    const bool taken = p.Call(1, {7});
    for (int i = 0; i < 4; ++i) p.tokens.push_back(TokenId{p.Next()});
    p.both.Continue(std::ssize(p.tokens) - 4, std::span(p.tokens).last(4));
    if (p.lookup.matched() < 2) continue;
    if (!taken) break;
    REQUIRE(++looked_up < 100);
  }
  CHECK(looked_up > 0);
  CHECK(p.both.stats().accepted < p.both.stats().tested);
}

TEST_CASE("what is taken back untested says nothing") {
  const NgramDraftOptions options{.most = 1, .draft_rate = 0.5, .shortest_rate = 0.6, .rate_per_token = 0};
  Proposers p(options);
  for (int i = 0; i < 50; ++i) {
    p.both.Propose(1, 1);
    p.both.Continue(std::ssize(p.tokens) - 1, Tokens({3}));
  }
  CHECK(p.both.stats().lookups == 50);
  CHECK(p.both.stats().tested == 0);
}

TEST_CASE("rates: the latest count most, and what is not tested any more is forgotten") {
  RecentRate rate;
  CHECK(rate.Of(0.25, 4) == doctest::Approx(0.25));
  for (int i = 0; i < 300; ++i) rate.Add(true);
  CHECK(rate.Of(0.25, 4) > 0.9);
  for (int i = 0; i < 30; ++i) rate.Add(false);
  CHECK(rate.Of(0.5, 0.001) == doctest::Approx(0.5).epsilon(0.02));
  for (int i = 0; i < 1000; ++i) rate.Fade();
  CHECK(rate.Of(0.25, 4) == doctest::Approx(0.25));
}

}  // namespace
}  // namespace triforce
