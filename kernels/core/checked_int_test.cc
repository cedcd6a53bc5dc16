#include "kernels/core/checked_int.h"

#include <doctest/doctest.h>

#include <cstdint>
#include <limits>
#include <random>

namespace triforce {
namespace {

constexpr int64_t kMost = std::numeric_limits<int64_t>::max(), kLeast = std::numeric_limits<int64_t>::min();

TEST_CASE("sums, differences and products at the ends of 64 bits") {
  CHECK((CheckedInt(kMost - 1) + 1).value() == kMost);
  CHECK_FALSE((CheckedInt(kMost) + 1).fits());
  CHECK((CheckedInt(kLeast + 1) - 1).value() == kLeast);
  CHECK_FALSE((CheckedInt(kLeast) - 1).fits());
  CHECK((CheckedInt(int64_t{1} << 31) * (int64_t{1} << 31)).value() == int64_t{1} << 62);
  CHECK_FALSE((CheckedInt(int64_t{1} << 31) * (int64_t{1} << 32)).fits());
  CHECK_FALSE((CheckedInt(kLeast) * -1).fits());
  CHECK_FALSE((4 * CheckedInt(int64_t{1} << 62)).fits());  // 0, if nobody looks
}

TEST_CASE("what is lost stays lost, also where the bits look right again") {
  const CheckedInt lost = CheckedInt(kMost) + 1;
  CHECK_FALSE((lost - 1).fits());
  CHECK_FALSE((lost * 0).fits());
  CHECK_FALSE((0 * lost).fits());
  CHECK_FALSE((7 + lost).fits());
  CHECK_FALSE((7 - lost).fits());
  CHECK_FALSE(lost.RoundedUpTo(256).fits());
  CHECK_FALSE(lost.value().has_value());
  CHECK(lost.Capped(100) == 100);
  CheckedInt sum = 5;
  sum += lost;
  CHECK_FALSE(sum.fits());
}

TEST_CASE("numbers of other types are taken as what they are") {
  CHECK(CheckedInt(uint64_t{1} << 62).value() == int64_t{1} << 62);
  CHECK_FALSE(CheckedInt(std::numeric_limits<uint64_t>::max()).fits());  // and not -1
  CHECK(CheckedInt(uint8_t{200}).value() == 200);
  CHECK(CheckedInt(-3).value() == -3);
}

TEST_CASE("caps and multiples") {
  CHECK(CheckedInt(7).Capped(100) == 7);
  CHECK(CheckedInt(101).Capped(100) == 100);
  CHECK(CheckedInt(0).RoundedUpTo(256).value() == 0);
  CHECK(CheckedInt(257).RoundedUpTo(256).value() == 512);
  CHECK_FALSE(CheckedInt(kMost).RoundedUpTo(256).fits());
}

TEST_CASE("random numbers: as 128 bits say") {
  constexpr uint64_t kSeed = 3;
  CAPTURE(kSeed);
  std::mt19937_64 random(kSeed);
  int lost = 0;
  const auto check = [&](CheckedInt found, __int128 expected) {
    const bool fits = expected >= kLeast && expected <= kMost;
    lost += !fits;
    REQUIRE(found.fits() == fits);
    if (fits) REQUIRE(found.value() == static_cast<int64_t>(expected));
  };
  for (int i = 0; i < 2000; ++i) {
    const auto any = [&] { return static_cast<int64_t>(random()) >> (random() % 64); };
    const int64_t a = any(), b = any();
    check(CheckedInt(a) + b, static_cast<__int128>(a) + b);
    check(CheckedInt(a) - b, static_cast<__int128>(a) - b);
    check(CheckedInt(a) * b, static_cast<__int128>(a) * b);
  }
  CHECK(lost > 500);
}

}  // namespace
}  // namespace triforce
