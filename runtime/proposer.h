// Proposer: whatever guesses how a sequence goes on: a draft model, a lookup in the text, or a whole Level.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "models/token_id.h"
#include "runtime/distribution.h"

namespace triforce {

// A token, and the law that it was really drawn from.
struct Proposal {
  TokenId token{};
  Distribution law;
};

class Proposer {
 public:
  virtual ~Proposer() = default;

  // The sequence is now its first `keep` tokens, as this proposer has been told or has proposed them, and then `more`.
  // What was proposed beyond is forgotten. REQUIRES: keep is no more than it has.
  virtual void Continue(int64_t keep, std::span<const TokenId> more) = 0;

  // Proposes up to `most` tokens, one behind the other, that go on from the sequence. They count as told until the next
  // Continue. `round` is the top level's, for random counters. Valid until the next call. How many there are may
  // depend on how they came out only so far as none that was drawn is left out for what it is: whether there is one
  // more is settled before that one is drawn (DESIGN.md, "Levels"; docs/speculation.md). REQUIRES: most >= 1.
  virtual std::span<const Proposal> Propose(int64_t most, uint32_t round) = 0;
};

}  // namespace triforce
