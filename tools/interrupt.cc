#include "tools/interrupt.h"

#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include "kernels/core/threads.h"

namespace triforce {

// A thread waits for the signals, instead of a handler, so that it may do what handlers must not.
std::stop_token CatchInterrupts() {
  sigset_t signals;
  sigemptyset(&signals);
  for (int signal : {SIGINT, SIGTERM}) {
    struct sigaction before;
    sigaction(signal, nullptr, &before);
    if (before.sa_handler != SIG_IGN) sigaddset(&signals, signal);  // whoever started us may have it ignored
  }
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);  // all threads made later inherit it
  std::stop_source source;
  StartThread([signals, source]() mutable {
    int signal = 0;
    sigwait(&signals, &signal);
    source.request_stop();
    sigwait(&signals, &signal);
    _exit(kInterruptedExitCode);
  }).detach();
  return source.get_token();
}

}  // namespace triforce
