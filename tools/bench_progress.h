// BenchProgress: what `triforce bench` is at, on stderr: a line that is redrawn at a terminal, one now and then
// elsewhere.
#pragma once

#include <chrono>
#include <string>

namespace triforce {

class BenchProgress {
 public:
  BenchProgress();
  ~BenchProgress() { Clear(); }
  BenchProgress(const BenchProgress&) = delete;
  BenchProgress& operator=(const BenchProgress&) = delete;

  // `done`: of all work, 0 to 1.
  void Update(const std::string& what, double done);
  // Removes the line.
  void Clear();

 private:
  const bool terminal_;
  const std::chrono::steady_clock::time_point begin_;
  double next_print_seconds_ = 0;
  bool shown_ = false;
};

}  // namespace triforce
