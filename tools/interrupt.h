// Interrupt: Ctrl-C (SIGINT) and SIGTERM as a stop token, so that work ends cleanly with what was made so far.
//
// The first one requests the stop; the second ends the process at once, with exit code 130, unfinished output files
// removed. Also asked to stop where nobody reads the output any more.
#pragma once

#include <atomic>
#include <csignal>
#include <stop_token>
#include <thread>

namespace triforce {

inline constexpr int kInterruptedExitCode = 130;

// Thrown through code that has no other way to end early.
struct Interrupted {};

class Interrupt {
 public:
  // Takes both signals from here on. REQUIRES: no other thread runs yet: those made later inherit the signal mask.
  Interrupt();
  ~Interrupt();
  Interrupt(const Interrupt&) = delete;
  Interrupt& operator=(const Interrupt&) = delete;

  std::stop_token token() const { return source_.get_token(); }
  bool requested() const { return source_.stop_requested(); }
  // Thread-safe.
  void Request() { source_.request_stop(); }
  // Throws Interrupted where a stop was requested.
  void Check() const;

 private:
  void WaitForSignals();

  sigset_t signals_;
  std::stop_source source_;
  std::atomic<bool> closing_ = false;
  std::thread thread_;
};

}  // namespace triforce
