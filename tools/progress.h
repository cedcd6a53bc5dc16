// Progress: how far a long step is, on stderr: a bar that is redrawn at a terminal, a line now and then elsewhere.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace triforce {

class Progress {
 public:
  enum class Unit { kBytes, kTokens };

  // `step`: "loading", "prefill". Nothing is printed for steps that take less than half a second.
  Progress(std::string step, Unit unit);
  // Removes the bar.
  ~Progress();

  void Update(int64_t done, int64_t total);

 private:
  std::string Line(int64_t done, int64_t total, double seconds) const;

  const std::string step_;
  const Unit unit_;
  const bool terminal_;
  const std::chrono::steady_clock::time_point begin_;
  double next_print_seconds_;
  bool bar_shown_ = false;
};

}  // namespace triforce
