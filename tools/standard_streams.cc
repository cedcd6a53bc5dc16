#include "tools/standard_streams.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "kernels/core/error.h"

namespace triforce {
namespace {

bool outlasts_output = false;
int output_error = 0;  // an errno; 0: all was written

[[noreturn]] void ThrowOutputError() {
  throw Error(ErrorKind::kIo, "stdout", fmt::format("cannot be written: {}", std::strerror(output_error)));
}

}  // namespace

void OpenStandardStreams() {
  for (int file : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (::fcntl(file, F_GETFD) >= 0) continue;
    // The lowest number that is free is this one.
    if (::open("/dev/null", file == STDIN_FILENO ? O_WRONLY : O_RDONLY) != file) ::_exit(1);
  }
  for (int signal : {SIGPIPE, SIGXFSZ}) ::signal(signal, SIG_IGN);
}

void SayText(std::string_view text) {
  std::fwrite(text.data(), 1, text.size(), stderr);  // without a buffer; errors have nobody to go to
}

void OutlastOutput() { outlasts_output = true; }

void PrintText(std::string_view text) {
  if (output_error != 0) return;  // has been told, or will be
  errno = 0;
  if (std::fwrite(text.data(), 1, text.size(), stdout) == text.size() && std::fflush(stdout) == 0) return;
  output_error = errno != 0 ? errno : EIO;
  if (outlasts_output) return;
  if (output_error == EPIPE) {
    ::signal(SIGPIPE, SIG_DFL);
    ::raise(SIGPIPE);
  }
  ThrowOutputError();
}

void FinishOutput() {
  if (output_error != 0) ThrowOutputError();
}

}  // namespace triforce
