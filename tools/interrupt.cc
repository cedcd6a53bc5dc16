#include "tools/interrupt.h"

#include <pthread.h>
#include <unistd.h>

#include "tools/output_file.h"

namespace triforce {
namespace {

// Whoever started us may have said that a signal is not for us: `triforce ... &` in a script, nohup.
bool IsIgnored(int signal) {
  struct sigaction action {};
  return sigaction(signal, nullptr, &action) == 0 && action.sa_handler == SIG_IGN;
}

}  // namespace

Interrupt::Interrupt() {
  sigemptyset(&signals_);
  sigaddset(&signals_, SIGTERM);
  if (!IsIgnored(SIGINT)) sigaddset(&signals_, SIGINT);
  pthread_sigmask(SIG_BLOCK, &signals_, nullptr);
  thread_ = std::thread([this] { WaitForSignals(); });
}

Interrupt::~Interrupt() {
  closing_ = true;
  pthread_kill(thread_.native_handle(), SIGTERM);
  thread_.join();
}

void Interrupt::Check() const {
  if (requested()) throw Interrupted();
}

void Interrupt::WaitForSignals() {
  for (bool first = true;; first = false) {
    int signal = 0;
    while (sigwait(&signals_, &signal) != 0) {
    }
    if (closing_) return;
    if (!first) {
      RemoveUnfinishedOutputFiles();
      _exit(kInterruptedExitCode);
    }
    source_.request_stop();
  }
}

}  // namespace triforce
