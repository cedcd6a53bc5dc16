#include "tools/progress.h"

#include <fmt/core.h>
#include <unistd.h>

#include <cstdio>
#include <utility>

#include "kernels/core/bytes.h"
#include "tools/standard_streams.h"

namespace triforce {
namespace {

constexpr double kFirstPrintSeconds = 0.5;
constexpr double kRedrawSeconds = 0.1;
constexpr double kLineSeconds = 10;
constexpr int kBarWidth = 24;

}  // namespace

Progress::Progress(std::string step, Unit unit)
    : step_(std::move(step)),
      unit_(unit),
      terminal_(::isatty(STDERR_FILENO) == 1),
      begin_(std::chrono::steady_clock::now()),
      next_print_seconds_(kFirstPrintSeconds) {}

Progress::~Progress() {
  if (bar_shown_) Say("\r\x1b[K");
  std::fflush(stderr);
}

void Progress::Update(int64_t done, int64_t total) {
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin_).count();
  if (seconds < next_print_seconds_ || done == 0 || done == total) return;
  next_print_seconds_ = seconds + (terminal_ ? kRedrawSeconds : kLineSeconds);
  Say("{}{}{}", terminal_ ? "\r\x1b[K" : "", Line(done, total, seconds), terminal_ ? "" : "\n");
  std::fflush(stderr);
  bar_shown_ = terminal_;
}

std::string Progress::Line(int64_t done, int64_t total, double seconds) const {
  const double share = static_cast<double>(done) / static_cast<double>(total);
  const double rate = static_cast<double>(done) / seconds;
  const int left = static_cast<int>(static_cast<double>(total - done) / rate + 0.5);
  const std::string amount = unit_ == Unit::kBytes ? fmt::format("{} of {}", FormatBytes(done), FormatBytes(total))
                                                   : fmt::format("{} of {} tokens", done, total);
  const std::string speed =
      unit_ == Unit::kBytes ? FormatBytes(static_cast<int64_t>(rate)) + "/s" : fmt::format("{:.0f} tokens/s", rate);
  const std::string time = left >= 60 ? fmt::format("{} min {:02} s", left / 60, left % 60) : fmt::format("{} s", left);
  if (!terminal_) return fmt::format("{}: {}, {}, {} left", step_, amount, speed, time);
  const int full = static_cast<int>(share * kBarWidth);
  return fmt::format("{} [{}{}] {:3.0f}%  {}  {}  {} left", step_, std::string(full, '#'),
                     std::string(kBarWidth - full, '.'), share * 100, amount, speed, time);
}

}  // namespace triforce
