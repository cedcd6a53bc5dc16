#include "kernels/core/team.h"

#include <doctest/doctest.h>

#include <atomic>

namespace triforce {
namespace {

TEST_CASE("each item of a loop is taken once") {
  Team team(4);
  for (const int64_t items : {0, 1, 3, 1000}) {
    std::vector<std::atomic<int>> taken(items);
    team.For(items, [&](Worker&, int64_t i) { ++taken[i]; });
    for (const std::atomic<int>& count : taken) CHECK(count == 1);
  }
}

// A helper that had looked whether to stop, and only then at the number of loops, slept for ever.
TEST_CASE("a team ends while its helpers are still on their way to its last loop") {
  for (int run = 0; run < 3000; ++run) {
    Team team(4);
    std::atomic<int> sum = 0;
    team.For(4, [&](Worker&, int64_t i) { sum += static_cast<int>(i); });
    REQUIRE(sum == 6);
  }
}

}  // namespace
}  // namespace triforce
