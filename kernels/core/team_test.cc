#include "kernels/core/team.h"

#include <doctest/doctest.h>
#include <pthread.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <fstream>
#include <functional>
#include <string>

#include "kernels/core/cpu_device.h"
#include "kernels/core/error.h"

namespace triforce {
namespace {

[[maybe_unused]] int64_t StackBytes() {
  pthread_attr_t attributes;
  size_t bytes = 0;
  REQUIRE(::pthread_getattr_default_np(&attributes) == 0);
  REQUIRE(::pthread_attr_getstacksize(&attributes, &bytes) == 0);
  return static_cast<int64_t>(bytes);
}

// What `body` throws in a process whose address space may grow by so many bytes; "nothing", or how the process ended.
[[maybe_unused]] std::string ErrorWithin(int64_t bytes, const std::function<void()>& body) {
  std::array<int, 2> ends{};
  REQUIRE(::pipe(ends.data()) == 0);
  const pid_t child = ::fork();
  if (child == 0) {
    ::alarm(30);  // instead of a hang
    std::string said = "nothing";
    int64_t pages = 0;
    std::ifstream("/proc/self/statm") >> pages;
    const auto limit = static_cast<rlim_t>(pages * ::sysconf(_SC_PAGESIZE) + bytes);
    const rlimit limits{limit, limit};
    if (::setrlimit(RLIMIT_AS, &limits) != 0) ::_exit(1);
    try {
      body();
    } catch (const Error& error) {
      said = error.what();
    }
    const ssize_t written = ::write(ends[1], said.data(), said.size());
    ::_exit(written == static_cast<ssize_t>(said.size()) ? 0 : 1);
  }
  ::close(ends[1]);
  std::string said(1000, 0);
  said.resize(std::max<ssize_t>(0, ::read(ends[0], said.data(), said.size())));
  ::close(ends[0]);
  int status = 0;
  ::waitpid(child, &status, 0);
  if (WIFSIGNALED(status)) return "signal " + std::to_string(WTERMSIG(status));
  return said;
}

// A thread whose stack finds no room is refused as one beyond a limit on threads is, which root does not have. The
// first case of this file: stacks of threads that have ended would be used again.
TEST_CASE("threads that the system refuses: those that run are joined, and the error says how many there are") {
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)  // whose shadows need the address space
  constexpr int kThreads = 24;
  const int64_t stack = StackBytes(), room = kThreads * Team::kScratchBytes + (int64_t{1} << 20);
  const auto make = [] { Team team(kThreads); };
  const std::string some = ErrorWithin(room + 5 * stack / 2, make);
  CHECK_MESSAGE(some.starts_with("threads: "), some);
  CHECK_MESSAGE(some.find(" of 24 could be started") != std::string::npos, some);
  CHECK_MESSAGE(some.find(" 0 of 24 ") == std::string::npos, some);
  CHECK_MESSAGE(some.find("Lower -t (--threads)") != std::string::npos, some);
  CHECK(ErrorWithin(room + (kThreads + 8) * stack, make) == "nothing");
  CpuDevice device(1 << 20);
  const std::string lane = ErrorWithin((int64_t{6} << 20) + stack / 2, [&] { device.NewLane({.name = "copy"}); });
  CHECK_MESSAGE(lane.starts_with("threads: 0 of 1 could be started"), lane);
#endif
}

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
