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
#include "runtime/verifier.h"

namespace triforce {

class DraftProposer final : public Proposer {
 public:
  // `tokens`: the sequence so far; the model has all of it but the last token, or less. `most`: tokens of one call.
  // `sequence`, `number`: of RandomCounter.
  DraftProposer(Verifier& model, Chance& chance, std::vector<TokenId> tokens, int64_t most, uint32_t sequence = 0,
                uint8_t number = 0);

  void Continue(int64_t keep, std::span<const TokenId> more) override { sequence_.Continue(keep, more); }
  std::span<const Proposal> Propose(int64_t most, uint32_t round) override;

 private:
  Chance& chance_;
  const int64_t vocab_;
  const int64_t most_;
  FollowedSequence sequence_;
  std::vector<float> laws_;  // [most, vocab]
  std::vector<Proposal> proposals_;
  std::vector<double> weights_;  // [vocab]
  RoundCounters counters_;
};

}  // namespace triforce
