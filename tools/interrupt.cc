#include "tools/interrupt.h"

#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>

#include "kernels/core/threads.h"

namespace triforce {
namespace {

constexpr int kSignalExitCode = 128;

std::atomic<int> first_signal = SIGINT;

}  // namespace

// A thread waits for the signals, instead of a handler, so that it may do what handlers must not.
std::stop_token CatchInterrupts() {
  sigset_t signals;
  sigemptyset(&signals);
  for (int signal : {SIGINT, SIGTERM, SIGHUP}) {
    struct sigaction before;
    sigaction(signal, nullptr, &before);
    if (before.sa_handler != SIG_IGN) sigaddset(&signals, signal);
  }
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);  // all threads made later inherit it
  std::stop_source source;
  StartThread([signals, source]() mutable {
    int signal = 0;
    sigwait(&signals, &signal);
    first_signal = signal;
    source.request_stop();
    sigwait(&signals, &signal);
    _exit(kSignalExitCode + signal);
  }).detach();
  return source.get_token();
}

int InterruptedExitCode() { return kSignalExitCode + first_signal; }

}  // namespace triforce
