// ProgressBar: how far a long step has come, on standard error.
//
// At a terminal a bar with amount, rate and time left, drawn anew in place and erased when done. Elsewhere a plain line
// every ten seconds, and none for what is done sooner. Not thread-safe.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace triforce {

// Whether standard error is a terminal that can redraw a line.
bool ErrorsGoToTerminal();

class ProgressBar {
 public:
  enum class Unit { kTokens, kBytes };

  // `label`: "Loading".
  ProgressBar(std::string label, Unit unit);
  // Erases the bar.
  ~ProgressBar() { Erase(); }
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;

  void Update(int64_t done, int64_t total);
  void Erase();

 private:
  using Clock = std::chrono::steady_clock;

  const std::string label_;
  const Unit unit_;
  const bool at_terminal_;
  const Clock::time_point begin_;
  Clock::time_point shown_;  // last time
  int64_t begin_done_ = -1;  // of the first Update: rates count from there
  bool drawn_ = false;
};

// What a bar shows, without the drawing: "12,288 of 28,034 tokens  3,012 tokens/s  5 s left". `seconds` is the time
// that `done` took; where it is too short to tell, rate and time left are left out.
std::string ProgressText(int64_t done, int64_t total, double seconds, ProgressBar::Unit unit);

// "Prefill [######......]  52%  TEXT", cut to `columns`; too narrow for the bar: without it.
std::string ProgressLine(const std::string& label, double share, const std::string& text, int columns);

}  // namespace triforce
