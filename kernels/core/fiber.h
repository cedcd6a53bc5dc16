// Fiber: a function with a stack of its own, which runs until it suspends itself and goes on when it is resumed. On the
// thread of whoever resumes it: nothing runs at the same time.
//
// Boost.Context's fiber, with what ASan wants to know of a change of stacks. (TSan is not told: its tests leave fibers
// out.) Not thread-safe.
#pragma once

#include <functional>
#include <memory>

namespace triforce {

class Fiber {
 public:
  // Calls body(*this) at the first Resume.
  explicit Fiber(std::function<void(Fiber&)> body);
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;
  // Of one that is suspended, unwinds the stack: destructors run, catch (...) has to throw on.
  ~Fiber();

  // Runs the body up to its next Suspend or its end, and says whether it has not ended. Throws what the body has
  // thrown; then it has ended. REQUIRES: it has not ended; not called from within.
  bool Resume();
  // REQUIRES: called from within the body.
  void Suspend();

 private:
  struct Impl;
  const std::unique_ptr<Impl> impl_;
};

}  // namespace triforce
