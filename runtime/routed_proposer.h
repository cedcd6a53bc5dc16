// RoutedProposer: either of two proposers of which one stands on the other: what a round proposes comes from the upper
// one, or straight from the one below it.
//
// Not thread-safe. Both outlive it.
#pragma once

#include <cstdint>
#include <span>

#include "runtime/proposer.h"

namespace triforce {

class RoutedProposer final : public Proposer {
 public:
  // `upper` tells `lower` whatever it is told.
  RoutedProposer(Proposer& upper, Proposer& lower) : upper_(upper), lower_(lower) {}

  void set_past_upper(bool past_upper) { past_upper_ = past_upper; }

  // What `lower` has proposed `upper` has not seen: nothing beyond what both were told can be kept. REQUIRES: keep is
  // no more than that.
  void Continue(int64_t keep, std::span<const TokenId> more) override { upper_.Continue(keep, more); }
  std::span<const Proposal> Propose(int64_t most, uint32_t round) override {
    return (past_upper_ ? lower_ : upper_).Propose(most, round);
  }

 private:
  Proposer& upper_;
  Proposer& lower_;
  bool past_upper_ = false;
};

}  // namespace triforce
