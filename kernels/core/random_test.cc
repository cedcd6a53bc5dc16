#include "kernels/core/random.h"

#include <doctest/doctest.h>

#include <set>

namespace triforce {
namespace {

// Known answers of the authors' Random123 distribution (kat_vectors, philox4x32 10).
TEST_CASE("philox4x32-10: known answers") {
  using Four = std::array<uint32_t, 4>;
  CHECK(Philox4x32({0, 0, 0, 0}, {0, 0}) == Four{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
  CHECK(Philox4x32({~0u, ~0u, ~0u, ~0u}, {~0u, ~0u}) == Four{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
  CHECK(Philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}) ==
        Four{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
}

TEST_CASE("every field of a counter, and the seed's both halves, make another draw") {
  std::set<uint64_t> draws;
  for (uint64_t seed : {uint64_t{0}, uint64_t{1}, uint64_t{1} << 32}) {
    draws.insert(RandomBits(seed, {}));
    draws.insert(RandomBits(seed, {.sequence = 1}));
    draws.insert(RandomBits(seed, {.round = 1}));
    draws.insert(RandomBits(seed, {.level = 1}));
    draws.insert(RandomBits(seed, {.index = 1}));
    draws.insert(RandomBits(seed, {.purpose = RandomPurpose::kAccept}));
  }
  CHECK(draws.size() == 18);
  CHECK(RandomBits(7, {.round = 3}) == RandomBits(7, {.round = 3}));
}

}  // namespace
}  // namespace triforce
