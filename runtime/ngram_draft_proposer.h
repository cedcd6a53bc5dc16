// NgramDraftProposer: a lookup in the text and a draft model, of which each call takes the one that promises more.
//
// The lookup's proposals cost nothing and are right less often than the draft's, but for where the text repeats itself.
// How often is measured: the tokens that the level above has handed out since the latest call say which of the
// proposals came true, by how many tokens of the match agreed. What a lookup would have proposed is scored even where
// the draft was taken: the tokens handed out follow the verifier's law, so that they are as often the lookup's as it
// would have been accepted. The draft is scored where it was taken, by match too, since a text that repeats itself is
// easy to guess for both.
//
// Which is taken is a function of tokens and of outcomes before the call, never of a clock nor of what the call will
// draw: so that each proposal has its own law, a lookup's a point and a draft's the model's.
//
// Not thread-safe. Both proposers outlive it, and are told of the sequence by it alone.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "runtime/draft_proposer.h"
#include "runtime/ngram_proposer.h"
#include "runtime/proposer.h"

namespace triforce {

// How often a token was right of those tested, the latest ones counting most.
class RecentRate {
 public:
  // Of nothing tested, `prior`; it weighs as much as `weight` tested tokens.
  double Of(double prior, double weight) const { return (right_ + prior * weight) / (tested_ + weight); }
  void Add(bool right);
  // As time passes without a test.
  void Fade();

 private:
  double tested_ = 0;
  double right_ = 0;
};

struct NgramDraftOptions {
  int64_t most = 1;  // tokens of one call
  // A draft pass over a pass of the level above: what a call can cost that looks nothing up.
  double draft_cost = 0;
  // Assumed where little was tested, and how many tested tokens that is worth: of drafted tokens, of those looked up
  // behind a match of one token, and what each further one adds. Low, as in novels (docs/speculation.md): a lookup need
  // not be taken to be found right.
  double draft_rate = 0.6, shortest_rate = 0.05, rate_per_token = 0.05;
  double prior_weight = 8;
};

struct NgramDraftStats {
  int64_t lookups = 0;  // calls that the lookup was taken in
  int64_t drafts = 0;
  int64_t tested = 0;  // of tokens looked up, by the level above
  int64_t accepted = 0;

  // Of several runs.
  void Add(const NgramDraftStats& other);
};

class NgramDraftProposer final : public Proposer {
 public:
  // `tokens`: how many the sequence has that both have been told of.
  NgramDraftProposer(NgramProposer& lookup, DraftProposer& draft, int64_t tokens, const NgramDraftOptions& options);

  void Continue(int64_t keep, std::span<const TokenId> more) override;
  std::span<const Proposal> Propose(int64_t most, uint32_t round) override;

  const NgramDraftStats& stats() const { return stats_; }

 private:
  // The latest call's, until its outcome is known.
  struct Call {
    bool open = false;
    bool looked_up = false;  // taken
    int64_t first = 0;       // position of the first proposal
    int64_t matched = 0;
  };

  double LookupRate(int64_t matched) const;
  double DraftRate(int64_t matched) const;
  bool PromisesMore(int64_t matched, int64_t looked_up, int64_t most) const;
  void Settle(int64_t keep, std::span<const TokenId> more);

  NgramProposer& lookup_;
  DraftProposer& draft_;
  const NgramDraftOptions options_;
  int64_t tokens_;
  Call call_;
  std::vector<TokenId> proposed_;                                                       // by the latest call
  std::vector<TokenId> looked_up_;                                                      // in it, taken or not
  std::array<RecentRate, NgramProposer::kMostMatched + 1> lookup_rates_, draft_rates_;  // by tokens matched
  RecentRate draft_rate_;                                                               // of all calls
  NgramDraftStats stats_;
};

}  // namespace triforce
