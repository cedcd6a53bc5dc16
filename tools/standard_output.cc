#include "tools/standard_output.h"

#include <fmt/core.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>

#include "kernels/core/error.h"

namespace triforce {

void SurviveBrokenPipes() { std::signal(SIGPIPE, SIG_IGN); }

bool WriteOutput(std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = ::write(STDOUT_FILENO, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0 && errno == EPIPE) return false;
    if (written < 0) {
      throw Error(ErrorKind::kIo, "standard output", fmt::format("cannot write: {}", std::strerror(errno)));
    }
    text.remove_prefix(static_cast<size_t>(written));
  }
  return true;
}

void EndByBrokenPipe() {
  static constexpr int kShellsCodeOfSigpipe = 128 + SIGPIPE;
  std::signal(SIGPIPE, SIG_DFL);
  std::raise(SIGPIPE);
  _exit(kShellsCodeOfSigpipe);  // where the signal is blocked
}

}  // namespace triforce
