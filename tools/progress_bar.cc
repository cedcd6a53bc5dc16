#include "tools/progress_bar.h"

#include <fmt/core.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <string_view>

#include "tools/quantity.h"

namespace triforce {
namespace {

constexpr auto kRedrawInterval = std::chrono::milliseconds(100);
constexpr auto kLineInterval = std::chrono::seconds(10);
constexpr double kLeastSecondsForRate = 0.2;
constexpr int kBarCells = 24;
constexpr int kDefaultColumns = 80;

int TerminalColumns() {
  winsize size{};
  if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return kDefaultColumns;
  return size.ws_col;
}

}  // namespace

bool ErrorsGoToTerminal() {
  const char* const terminal = std::getenv("TERM");
  return isatty(STDERR_FILENO) == 1 && terminal != nullptr && std::string_view(terminal) != "dumb";
}

ProgressBar::ProgressBar(std::string label, Unit unit)
    : label_(std::move(label)), unit_(unit), at_terminal_(ErrorsGoToTerminal()), begin_(Clock::now()), shown_(begin_) {}

void ProgressBar::Update(int64_t done, int64_t total) {
  if (begin_done_ < 0) begin_done_ = done;
  const Clock::time_point now = Clock::now();
  const auto since_shown = now - shown_;
  if (at_terminal_ ? drawn_ && since_shown < kRedrawInterval : since_shown < kLineInterval) return;
  if (!at_terminal_ && done >= total) return;
  shown_ = now;
  const double seconds = std::chrono::duration<double>(now - begin_).count();
  const std::string text = ProgressText(done - begin_done_, total - begin_done_, seconds, unit_);
  if (at_terminal_) {
    const double share = total > 0 ? static_cast<double>(done) / static_cast<double>(total) : 0;
    // One column is left free: a terminal may wrap when its last one is written.
    fmt::print(stderr, "\r{}\x1b[K", ProgressLine(label_, share, text, TerminalColumns() - 1));
    drawn_ = true;
  } else {
    fmt::print(stderr, "{}: {}\n", label_, text);
  }
  std::fflush(stderr);
}

void ProgressBar::Erase() {
  if (!drawn_) return;
  fmt::print(stderr, "\r\x1b[K");
  std::fflush(stderr);
  drawn_ = false;
}

std::string ProgressText(int64_t done, int64_t total, double seconds, ProgressBar::Unit unit) {
  const bool tokens = unit == ProgressBar::Unit::kTokens;
  std::string text = tokens ? fmt::format("{} of {} tokens", CountText(done), CountText(total))
                            : fmt::format("{} of {}", BytesText(done), BytesText(total));
  if (done <= 0 || seconds < kLeastSecondsForRate) return text;
  const double rate = static_cast<double>(done) / seconds;
  text += tokens ? fmt::format("  {} tokens/s", RateText(rate))
                 : fmt::format("  {}/s", BytesText(static_cast<int64_t>(rate)));
  return text + fmt::format("  {} left", SecondsText(static_cast<double>(total - done) / rate));
}

std::string ProgressLine(const std::string& label, double share, const std::string& text, int columns) {
  const double clamped = std::clamp(share, 0.0, 1.0);
  const size_t filled = static_cast<size_t>(clamped * kBarCells);
  std::string line = fmt::format("{} [{}{}] {:3.0f}%  {}", label, std::string(filled, '#'),
                                 std::string(kBarCells - filled, '.'), clamped * 100, text);
  const auto width = static_cast<size_t>(std::max(columns, 0));
  if (line.size() > width) line = fmt::format("{} {:3.0f}%  {}", label, clamped * 100, text);
  return line.substr(0, width);
}

}  // namespace triforce
