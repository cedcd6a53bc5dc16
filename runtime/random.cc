#include "runtime/random.h"

namespace triforce {
namespace {

struct Product {
  uint32_t high;
  uint32_t low;
};

Product Multiply(uint32_t a, uint32_t b) {
  const uint64_t product = static_cast<uint64_t>(a) * b;
  return {static_cast<uint32_t>(product >> 32), static_cast<uint32_t>(product)};
}

}  // namespace

std::array<uint32_t, 4> Philox4x32(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key) {
  for (int round = 0; round < 10; ++round) {
    const Product a = Multiply(0xD2511F53u, counter[0]);
    const Product b = Multiply(0xCD9E8D57u, counter[2]);
    counter = {b.high ^ counter[1] ^ key[0], b.low, a.high ^ counter[3] ^ key[1], a.low};
    key[0] += 0x9E3779B9u;
    key[1] += 0xBB67AE85u;
  }
  return counter;
}

uint64_t RandomBits(uint64_t seed, const RandomCounter& counter) {
  const uint32_t place =
      static_cast<uint32_t>(counter.level) << 24 | static_cast<uint32_t>(counter.purpose) << 16 | counter.index;
  const auto bits = Philox4x32({counter.sequence, counter.round, place, 0},
                               {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)});
  return static_cast<uint64_t>(bits[1]) << 32 | bits[0];
}

}  // namespace triforce
