#include "runtime/ngram_proposer.h"

#include <doctest/doctest.h>

#include <random>
#include <vector>

namespace triforce {
namespace {

std::vector<TokenId> Tokens(const std::vector<int>& ids) {
  std::vector<TokenId> tokens;
  for (const int id : ids) tokens.push_back(TokenId{id});
  return tokens;
}

std::vector<int> Proposed(NgramProposer& proposer, int64_t most) {
  std::vector<int> ids;
  for (const Proposal& proposal : proposer.Propose(most, 1)) {
    CHECK(proposal.law.probability(proposal.token) == 1);
    ids.push_back(ToInt(proposal.token));
  }
  return ids;
}

// By definition, without an index.
std::vector<int> Expected(const std::vector<TokenId>& tokens, int64_t most) {
  const int64_t size = static_cast<int64_t>(tokens.size());
  for (int64_t length = NgramRuns{}.longest; length >= NgramRuns{}.shortest; --length) {
    for (int64_t end = size - 2; end + 1 >= length && size >= length; --end) {
      bool same = true;
      for (int64_t i = 0; i < length; ++i) same = same && tokens[end - i] == tokens[size - 1 - i];
      if (!same) continue;
      std::vector<TokenId> longer = tokens;
      std::vector<int> ids;
      for (int64_t i = 0; i < most; ++i) {
        longer.push_back(longer[end + 1 + i]);
        ids.push_back(ToInt(longer.back()));
      }
      return ids;
    }
  }
  return {};
}

TEST_CASE("n-gram lookup proposes what followed the latest occurrence of the longest run") {
  NgramProposer proposer(Tokens({1, 2, 3, 9, 2, 3, 7, 1, 2, 3}), 64);
  CHECK(Proposed(proposer, 4) == std::vector<int>{9, 2, 3, 7});  // 1 2 3, though 2 3 came later
  proposer.Continue(9, {});
  CHECK(Proposed(proposer, 2) == std::vector<int>{3, 9});
  proposer.Continue(9, Tokens({5}));
  CHECK(Proposed(proposer, 2).empty());
  proposer.Continue(0, Tokens({4, 4, 4}));
  CHECK(Proposed(proposer, 3) == std::vector<int>{4, 4, 4});  // goes on behind its own proposals
}

TEST_CASE("n-gram lookup says how many tokens matched, and looks up runs as long as it is told") {
  NgramProposer proposer(Tokens({5, 6, 1, 2, 3, 9, 7, 6, 1, 2, 3}), 64);
  CHECK(Proposed(proposer, 1) == std::vector<int>{9});
  CHECK(proposer.matched() == 4);
  proposer.Continue(11, Tokens({9, 7}));
  CHECK(Proposed(proposer, 1) == std::vector<int>{6});
  CHECK(proposer.matched() == 6);
  proposer.Continue(13, Tokens({1}));  // 7 1 is new
  CHECK(Proposed(proposer, 1).empty());
  CHECK(proposer.matched() == 0);
  NgramProposer shorter(Tokens({5, 6, 1, 2, 3, 9, 7, 1}), 64, {.longest = 1, .shortest = 1});
  CHECK(Proposed(shorter, 1) == std::vector<int>{2});
  CHECK(shorter.matched() == 1);
  NgramProposer same(std::vector<TokenId>(40, TokenId{4}), 64);
  CHECK(Proposed(same, 1) == std::vector<int>{4});
  CHECK(same.matched() == NgramProposer::kMostMatched);
}

TEST_CASE("n-gram lookup by index equals the plain search, through rewinds, kept proposals and new text") {
  constexpr uint32_t kSeed = 7;
  CAPTURE(kSeed);
  std::mt19937 random(kSeed);
  constexpr int64_t kCapacity = 400;
  std::vector<TokenId> tokens;
  NgramProposer proposer(tokens, kCapacity);
  int hits = 0;
  for (int step = 0; step < 3000; ++step) {
    const int64_t most = 1 + random() % 5;
    const std::vector<int> expected = Expected(tokens, most);
    CHECK(Proposed(proposer, most) == expected);
    hits += !expected.empty();
    std::vector<TokenId> told = tokens;
    for (const int id : expected) told.push_back(TokenId{id});
    const int64_t keep =
        random() % 4 == 0 ? random() % (told.size() + 1) : told.size() - random() % (expected.size() + 1);
    std::vector<TokenId> more;
    for (int i = 0; i < static_cast<int>(random() % 3); ++i) more.push_back(TokenId{static_cast<int>(random() % 5)});
    const bool full = keep + static_cast<int64_t>(more.size()) > kCapacity - 10;
    const int64_t kept = full ? 3 : keep;
    tokens.assign(told.begin(), told.begin() + kept);
    tokens.insert(tokens.end(), more.begin(), more.end());
    proposer.Continue(kept, more);
  }
  CHECK(hits > 500);
}

}  // namespace
}  // namespace triforce
