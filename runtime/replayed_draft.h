// ReplayedDraft: a draft as the top level's proposer, by passes that are replayed on the device (device_rounds.h),
// where that can be, and by the DraftProposer itself, where not. The tokens are the same.
//
// Not thread-safe. All that it is given outlives it.
#pragma once

#include <cstdint>
#include <span>

#include "runtime/device_rounds.h"
#include "runtime/draft_proposer.h"
#include "runtime/proposer.h"
#include "runtime/round_trace.h"

namespace triforce {

class ReplayedDraft final : public Proposer {
 public:
  // `bottom` drafts by `draft`, which `rounds` has.
  ReplayedDraft(DeviceRounds& rounds, DraftVerifier& draft, DraftProposer& bottom, RoundTrace trace = {})
      : rounds_(rounds), draft_(draft), bottom_(bottom), trace_(trace) {}

  // Calls so far whose passes stayed on the device.
  int64_t replayed_calls() const { return replayed_calls_; }

  void Continue(int64_t keep, std::span<const TokenId> more) override { bottom_.Continue(keep, more); }
  std::span<const Proposal> Propose(int64_t most, uint32_t round) override;

 private:
  DeviceRounds& rounds_;
  DraftVerifier& draft_;
  DraftProposer& bottom_;
  const RoundTrace trace_;
  int64_t replayed_calls_ = 0;
};

// Queues passes of the draft, so that of `text` it has all but the last `left` tokens, or more, and has room for
// `tokens` behind them. False where it never has.
bool BringUp(DraftVerifier& draft, std::span<const TokenId> text, int64_t left, int64_t tokens);

}  // namespace triforce
