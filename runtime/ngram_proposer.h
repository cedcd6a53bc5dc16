// NgramProposer: guesses that the text goes on as it did where its last tokens stood before (prompt lookup decoding,
// Saxena 2023; LLMA, arXiv 2304.04487). Costs no model: for texts that repeat themselves or their prompt.
//
// What it proposes is a function of the sequence alone, so each proposal's law is a point. Not thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "runtime/proposer.h"

namespace triforce {

// The longest and the shortest run of last tokens that is looked up.
struct NgramRuns {
  int64_t longest = 3;
  int64_t shortest = 2;
};

class NgramProposer final : public Proposer {
 public:
  // `capacity`: tokens that the sequence may ever have, proposals included; memory is taken once. REQUIRES: 1 <=
  // shortest <= longest <= kMostMatched.
  NgramProposer(std::span<const TokenId> tokens, int64_t capacity, NgramRuns runs = {});

  void Continue(int64_t keep, std::span<const TokenId> more) override;
  // What followed the latest earlier occurrence of the longest run; of fewer tokens, where there is none. Empty where
  // the shortest run is new too.
  std::span<const Proposal> Propose(int64_t most, uint32_t round) override;
  // How many tokens before the latest proposals are the same as before what they were copied from, as far as
  // kMostMatched: at least the run that was found, or 0 where none was.
  int64_t matched() const { return matched_; }
  static constexpr int64_t kMostMatched = 16;

 private:
  static constexpr int32_t kNone = -1;

  // Where runs of `length` tokens end: the latest end of each hash, and behind each end the one before it.
  struct Index {
    int64_t length = 0;
    std::vector<int32_t> latest;  // by hash; a power of two
    std::vector<int32_t> before;  // by position
  };

  void TellNext();  // tokens_[told_] is told
  void RemoveLast();
  size_t HashAt(const Index& index, int64_t end) const;  // of the run that ends with position `end`
  int64_t Find(const Index& index) const;                // the latest earlier end of the last run, or kNone
  int64_t MatchedAt(int64_t end) const;                  // tokens up to `end` that are as the last ones are

  std::vector<TokenId> tokens_;
  int64_t told_ = 0;            // of tokens_: the others are proposals, and in no index
  std::vector<Index> indices_;  // from the longest run down
  std::vector<Proposal> proposals_;
  int64_t matched_ = 0;
};

}  // namespace triforce
