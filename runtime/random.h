// Counter-based random numbers: a draw is a function of the seed and of what it is for, not of how many came before.
//
// A run is therefore repeatable whatever is speculated, batched or retried, and no counter is used twice.
// Generator: Philox4x32-10 of Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (SC 2011).
#pragma once

#include <array>
#include <cstdint>

namespace triforce {

enum class RandomPurpose : uint8_t {
  kSample,    // a token from a filtered distribution
  kAccept,    // the test of a proposal
  kResidual,  // a token after a rejection
  kBonus,     // a token after all proposals were accepted
};

// What a draw is for. No two draws of a run share one.
struct RandomCounter {
  uint32_t sequence = 0;  // of the batch, or the sample of a prompt
  uint32_t round = 0;
  uint8_t level = 0;
  uint16_t index = 0;  // within the round
  RandomPurpose purpose = RandomPurpose::kSample;
};

// Ten rounds of Philox 4x32.
std::array<uint32_t, 4> Philox4x32(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key);

// 64 random bits for `counter` under `seed`.
uint64_t RandomBits(uint64_t seed, const RandomCounter& counter);

}  // namespace triforce
