#include "tests/cli/run_triforce.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdlib>

#include "kernels/core/check.h"

namespace triforce {
namespace {

constexpr const char* kBinary = "tools/triforce";

struct Pipe {
  int read = -1;
  int write = -1;
  Pipe() {
    int ends[2];
    TF_CHECK(::pipe2(ends, O_CLOEXEC) == 0);
    read = ends[0];
    write = ends[1];
  }
};

[[noreturn]] void Execute(const std::vector<std::string>& arguments, const RunOptions& options, const Pipe& in,
                          const Pipe& out, const Pipe& err) {
  ::dup2(in.read, STDIN_FILENO);
  ::dup2(out.write, STDOUT_FILENO);
  ::dup2(err.write, STDERR_FILENO);
  std::vector<char*> argv{const_cast<char*>(kBinary)};
  for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  ::clearenv();
  ::setenv("PATH", "/usr/bin:/bin", 1);
  for (const auto& [name, value] : options.environment) ::setenv(name.c_str(), value.c_str(), 1);
  ::execv(kBinary, argv.data());
  ::_exit(127);
}

// Reads both pipes to their ends; sends the signal once its time has come.
void Collect(pid_t child, const RunOptions& options, Outcome& outcome, int out, int err) {
  std::array<pollfd, 2> fds{{{out, POLLIN, 0}, {err, POLLIN, 0}}};
  bool sent = options.signal == 0;
  for (int open = 2; open > 0;) {
    TF_CHECK(::poll(fds.data(), fds.size(), -1) >= 0);
    for (pollfd& fd : fds) {
      if (fd.fd < 0 || fd.revents == 0) continue;
      char block[4096];
      const ssize_t bytes = ::read(fd.fd, block, sizeof(block));
      if (bytes > 0) {
        (fd.fd == out ? outcome.out : outcome.err).append(block, bytes);
      } else {
        fd.fd = -1;
        --open;
      }
    }
    if (!sent && options.send_when(outcome.out, outcome.err)) {
      ::kill(child, options.signal);
      sent = true;
    }
  }
}

}  // namespace

Outcome RunTriforce(const std::vector<std::string>& arguments, const RunOptions& options) {
  const Pipe in, out, err;
  const pid_t child = ::fork();
  TF_CHECK(child >= 0);
  if (child == 0) Execute(arguments, options, in, out, err);
  ::close(in.read);
  ::close(out.write);
  ::close(err.write);
  TF_CHECK(options.standard_input.size() <= 65536, "more than a pipe holds");
  TF_CHECK(::write(in.write, options.standard_input.data(), options.standard_input.size()) >= 0);
  ::close(in.write);
  Outcome outcome;
  Collect(child, options, outcome, out.read, err.read);
  ::close(out.read);
  ::close(err.read);
  int status = 0;
  TF_CHECK(::waitpid(child, &status, 0) == child);
  outcome.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return outcome;
}

}  // namespace triforce
