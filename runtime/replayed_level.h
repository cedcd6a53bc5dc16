// ReplayedLevel: the middle level as the top level's proposer, by rounds that are replayed on the device, where that
// can be, and by as many rounds of the Level itself, where not: the tokens are the same.
//
// It hands up what a number of rounds gives that is fixed before the first of them, not a number of tokens: so the host
// need not look at one round to know whether there is another. That each token handed up has its verifier's law at its
// prefix does not depend on when rounds end: every token that is drawn is handed up, whatever it is, as long as there
// is room, and those behind a fixed place are dropped whatever they are. So whoever tests them tests x, wherever there
// is one, against the law that x was drawn from, and whether there is one more token was settled before that token was
// drawn. (runtime/level_test has this enumerated: every decision of such rounds, with its weight.)
//
// Not thread-safe. All that it is given outlives it.
#pragma once

#include <cstdint>
#include <limits>
#include <span>

#include "runtime/device_rounds.h"
#include "runtime/draft_proposer.h"
#include "runtime/level.h"
#include "runtime/proposer.h"
#include "runtime/round_trace.h"

namespace triforce {

class ReplayedLevel final : public Proposer {
 public:
  // `rounds`: null where nothing stays on the device. `level`: the middle one, above `bottom`, which drafts by `draft`,
  // which `rounds` has; both may be null where there are no drafts. REQUIRES: the level hands out kMostReplayed at
  // once.
  ReplayedLevel(DeviceRounds* rounds, Session& session, Level& level, DraftVerifier* draft, DraftProposer* bottom,
                RoundTrace trace = {});

  // From now on: so many rounds a call, but none that may make the sequence longer than `longest` tokens; 0: as Level
  // does, until there are as many tokens as asked for.
  void set_rounds(int64_t rounds, int64_t longest = std::numeric_limits<int64_t>::max()) {
    planned_ = rounds;
    longest_ = longest;
  }
  // Calls so far whose rounds stayed on the device.
  int64_t replayed_calls() const { return replayed_calls_; }

  void Continue(int64_t keep, std::span<const TokenId> more) override { level_.Continue(keep, more); }
  std::span<const Proposal> Propose(int64_t most, uint32_t round) override;

 private:
  // As many of the planned rounds as have room everywhere, and no more than `most`: each brings a token. 0: none have.
  int64_t RoundsWithRoom(int64_t most) const;
  // False where the caches cannot be made ready.
  bool Prepare(RoundsToRun& run);
  void Conclude(const HandedOut& handed_out, int64_t kept, const RoundsToRun& run);

  DeviceRounds* const rounds_;
  Session& session_;
  Level& level_;
  DraftVerifier* const draft_;
  DraftProposer* const bottom_;
  const RoundTrace trace_;
  int64_t planned_ = 0;
  int64_t longest_ = std::numeric_limits<int64_t>::max();
  int64_t replayed_calls_ = 0;
};

}  // namespace triforce
