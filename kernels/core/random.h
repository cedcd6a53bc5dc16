// Counter-based random numbers: a draw is a function of the seed and of what it is for, not of how many came before.
//
// A run is therefore repeatable whatever is speculated, batched or retried, and no counter is used twice.
// Generator: Philox4x32-10 of Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (SC 2011). Kernels use it
// too.
#pragma once

#include <array>
#include <cstdint>

namespace triforce {

enum class RandomPurpose : uint8_t {
  kSample,    // a token from a filtered distribution
  kAccept,    // the test of a proposal
  kResidual,  // a token after a rejection
  kBonus,     // a token after all proposals were accepted
  kPrompt,    // an id of a made-up prompt
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
constexpr std::array<uint32_t, 4> Philox4x32(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key) {
  for (int round = 0; round < 10; ++round) {
    const uint64_t a = uint64_t{0xD2511F53u} * counter[0], b = uint64_t{0xCD9E8D57u} * counter[2];
    counter = {static_cast<uint32_t>(b >> 32) ^ counter[1] ^ key[0], static_cast<uint32_t>(b),
               static_cast<uint32_t>(a >> 32) ^ counter[3] ^ key[1], static_cast<uint32_t>(a)};
    key[0] += 0x9E3779B9u;
    key[1] += 0xBB67AE85u;
  }
  return counter;
}

// 64 random bits for `counter` under `seed`.
constexpr uint64_t RandomBits(uint64_t seed, const RandomCounter& counter) {
  const uint32_t place =
      static_cast<uint32_t>(counter.level) << 24 | static_cast<uint32_t>(counter.purpose) << 16 | counter.index;
  const auto bits = Philox4x32({counter.sequence, counter.round, place, 0},
                               {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)});
  return static_cast<uint64_t>(bits[1]) << 32 | bits[0];
}

// The upper 53 bits as a number in [0, 1).
constexpr double Uniform(uint64_t bits) { return static_cast<double>(bits >> 11) * 0x1p-53; }
constexpr double Uniform(uint64_t seed, const RandomCounter& counter) { return Uniform(RandomBits(seed, counter)); }

}  // namespace triforce
