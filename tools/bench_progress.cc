#include "tools/bench_progress.h"

#include <fmt/core.h>
#include <unistd.h>

#include <cstdio>

#include "tools/standard_streams.h"

namespace triforce {
namespace {

constexpr double kLineSeconds = 10;  // between lines that are not redrawn
constexpr double kLeastDone = 0.02;  // before that, what is left cannot be told
constexpr size_t kColumns = 100;

}  // namespace

BenchProgress::BenchProgress() : terminal_(::isatty(STDERR_FILENO) == 1), begin_(std::chrono::steady_clock::now()) {}

void BenchProgress::Update(const std::string& what, double done) {
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin_).count();
  if (!terminal_ && seconds < next_print_seconds_) return;
  next_print_seconds_ = seconds + kLineSeconds;
  std::string line = fmt::format("{:3.0f} %", done * 100);
  if (done >= kLeastDone) {
    const double left = seconds * (1 - done) / done;
    line += left >= 90 ? fmt::format(", about {:.0f} min left", left / 60) : fmt::format(", about {:.0f} s left", left);
  }
  line = (line + "; " + what).substr(0, kColumns);
  Say("{}{}{}", terminal_ ? "\r\x1b[K" : "", line, terminal_ ? "" : "\n");
  std::fflush(stderr);
  shown_ = terminal_;
}

void BenchProgress::Clear() {
  if (!shown_) return;
  Say("\r\x1b[K");
  std::fflush(stderr);
  shown_ = false;
}

}  // namespace triforce
