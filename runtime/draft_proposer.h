// DraftProposer: a small model that guesses token by token.
//
// Not thread-safe. Verifier and chance outlive it.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "runtime/chance.h"
#include "runtime/followed_sequence.h"
#include "runtime/proposer.h"
#include "runtime/round_counters.h"
#include "runtime/round_trace.h"
#include "runtime/verifier.h"

namespace triforce {

struct DraftOptions {
  int64_t most = 1;       // tokens of one call
  uint32_t sequence = 0;  // of RandomCounter
  uint8_t number = 0;     // of RandomCounter
  RoundTrace trace = {};
};

class DraftProposer final : public Proposer {
 public:
  // `tokens`: the sequence so far; the model has all of it but the last token, or less.
  DraftProposer(Verifier& model, Chance& chance, std::vector<TokenId> tokens, const DraftOptions& options);

  void Continue(int64_t keep, std::span<const TokenId> more) override { sequence_.Continue(keep, more); }
  std::span<const Proposal> Propose(int64_t most, uint32_t round) override;

  std::span<const TokenId> tokens() const { return sequence_.tokens(); }
  // So many passes have been run elsewhere (replayed_draft.h, replayed_level.h), whose tokens come by Continue.
  void Note(int64_t passes, double ms) { passes_ += passes, pass_ms_ += ms; }
  // Passes of the model so far, and their time; of those below a level whose rounds were run elsewhere it is the
  // level's.
  int64_t passes() const { return passes_; }
  double pass_ms() const { return pass_ms_; }

 private:
  Chance& chance_;
  const int64_t vocab_;
  const DraftOptions options_;
  FollowedSequence sequence_;
  std::vector<float> laws_;  // [most, vocab]
  std::vector<Proposal> proposals_;
  std::vector<WeightedToken> possible_;  // what is drawn from
  RoundCounters counters_;
  int64_t passes_ = 0;
  double pass_ms_ = 0;
};

}  // namespace triforce
