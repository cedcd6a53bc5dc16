// RoundCounters: the random counters of one proposer: each is given out once.
#pragma once

#include <cstdint>
#include <limits>

#include "kernels/core/check.h"
#include "kernels/core/random.h"

namespace triforce {

class RoundCounters {
 public:
  // `level`: another one for each proposer of a hierarchy.
  RoundCounters(uint32_t sequence, uint8_t level) : sequence_(sequence), level_(level) {}

  // The next one of `round`. REQUIRES: rounds follow one another; no more than 65535 counters in each.
  RandomCounter Next(uint32_t round, RandomPurpose purpose) {
    if (round != round_) {
      round_ = round;
      index_ = 0;
    }
    TF_CHECK(index_ < std::numeric_limits<uint16_t>::max(), "round {}", round);
    return {.sequence = sequence_, .round = round, .level = level_, .index = index_++, .purpose = purpose};
  }

 private:
  const uint32_t sequence_;
  const uint8_t level_;
  uint32_t round_ = 0;
  uint16_t index_ = 0;
};

}  // namespace triforce
