#include "tests/cli/process.h"

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <iterator>
#include <sstream>
#include <string_view>

#include "kernels/core/check.h"

namespace triforce {
namespace {

constexpr auto kLongestWaitForText = std::chrono::minutes(1);
constexpr auto kLongestRun = std::chrono::minutes(2);

struct Pipe {
  int read = -1;
  int write = -1;
};

Pipe NewPipe() {
  std::array<int, 2> ends;
  TF_CHECK(::pipe2(ends.data(), O_CLOEXEC) == 0);
  return {ends[0], ends[1]};
}

std::vector<char*> Pointers(std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  for (std::string& text : texts) pointers.push_back(text.data());
  pointers.push_back(nullptr);
  return pointers;
}

std::vector<std::string> EnvironmentOf(const Invocation& invocation) {
  std::vector<std::string> variables;
  for (char** variable = environ; *variable != nullptr; ++variable) {
    if (!std::string_view(*variable).starts_with("TRIFORCE_")) variables.push_back(*variable);
  }
  for (const auto& [name, value] : invocation.environment) variables.push_back(name + "=" + value);
  return variables;
}

// Where a stream goes instead of the pipe that `end` writes to, which is closed then. A closed stream keeps its pipe,
// which Spawn closes in the program.
int Redirected(int end, const std::string& path) {
  if (path.empty() || path == kClosed) return end;
  ::close(end);
  if (path == kBrokenPipe) {
    const Pipe broken = NewPipe();
    ::close(broken.read);
    return broken.write;
  }
  const int file = ::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
  TF_CHECK(file >= 0, "{}", path);
  return file;
}

// Starts the program with `input`, `output` and `errors` as its standard streams, and signals as at a terminal: whoever
// runs the tests may ignore or block some.
int Spawn(const Invocation& invocation, int input, int output, int errors) {
  std::vector<std::string> arguments = {invocation.program};
  arguments.insert(arguments.end(), invocation.arguments.begin(), invocation.arguments.end());
  std::vector<std::string> variables = EnvironmentOf(invocation);
  posix_spawn_file_actions_t files;
  posix_spawn_file_actions_init(&files);
  posix_spawn_file_actions_adddup2(&files, input, STDIN_FILENO);
  posix_spawn_file_actions_adddup2(&files, output, STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&files, errors, STDERR_FILENO);
  if (invocation.input_closed) posix_spawn_file_actions_addclose(&files, STDIN_FILENO);
  if (invocation.output_path == kClosed) posix_spawn_file_actions_addclose(&files, STDOUT_FILENO);
  if (invocation.error_path == kClosed) posix_spawn_file_actions_addclose(&files, STDERR_FILENO);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  sigset_t signals;
  sigemptyset(&signals);
  posix_spawnattr_setsigmask(&attributes, &signals);
  for (int signal : {SIGINT, SIGTERM, SIGHUP, SIGPIPE}) sigaddset(&signals, signal);
  posix_spawnattr_setsigdefault(&attributes, &signals);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  int id = -1;
  const int error = posix_spawn(&id, invocation.program.c_str(), &files, &attributes, Pointers(arguments).data(),
                                Pointers(variables).data());
  TF_CHECK(error == 0, "cannot start {}: error {}", invocation.program, error);
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&files);
  return id;
}

}  // namespace

Process::Process(const Invocation& invocation) {
  std::signal(SIGPIPE, SIG_IGN);  // of a program that ends before it has read its input
  const Pipe input = NewPipe(), output = NewPipe(), errors = NewPipe();
  input_ = input.write;
  out_.file = output.read;
  err_.file = errors.read;
  const int output_end = Redirected(output.write, invocation.output_path);
  const int error_end = Redirected(errors.write, invocation.error_path);
  id_ = Spawn(invocation, input.read, output_end, error_end);
  for (int file : {input.read, output_end, error_end}) ::close(file);
  out_.reader = std::thread([this] { Read(out_); });
  err_.reader = std::thread([this] { Read(err_); });
  for (std::string_view rest = invocation.input; !rest.empty();) {
    const ssize_t written = ::write(input_, rest.data(), rest.size());
    if (written <= 0) break;
    rest.remove_prefix(static_cast<size_t>(written));
  }
  if (!invocation.input_stays_open) CloseInput();
}

Process::~Process() {
  if (id_ >= 0) {
    Signal(SIGKILL);
    Wait();
  }
}

void Process::CloseInput() {
  if (input_ >= 0) ::close(input_);
  input_ = -1;
}

void Process::Read(Stream& stream) {
  static constexpr int kPollMilliseconds = 10;
  std::array<char, 4096> block;
  for (bool open = true; open;) {
    pollfd ready{.fd = stream.file, .events = POLLIN, .revents = 0};
    const int events = ::poll(&ready, 1, kPollMilliseconds);
    const ssize_t bytes = events > 0 ? ::read(stream.file, block.data(), block.size()) : 0;
    std::lock_guard lock(mutex_);
    if (bytes > 0) stream.text.append(block.data(), static_cast<size_t>(bytes));
    open = !stream.abandoned && (events == 0 || bytes > 0);
    if (!open) {
      stream.ended = true;
      ::close(stream.file);
    }
    changed_.notify_all();
  }
}

bool Process::WaitFor(Stream& stream, const std::string& text) {
  std::unique_lock lock(mutex_);
  const auto found = [&] { return stream.text.find(text) != std::string::npos; };
  changed_.wait_for(lock, kLongestWaitForText, [&] { return found() || stream.ended; });
  return found();
}

void Process::Signal(int signal) const { TF_CHECK(id_ > 0 && ::kill(id_, signal) == 0); }

void Process::StopReading() {
  std::unique_lock lock(mutex_);
  out_.abandoned = true;
  changed_.wait(lock, [&] { return out_.ended; });
}

Result Process::Wait() {
  TF_CHECK(id_ > 0);
  int status = 0;
  const auto deadline = std::chrono::steady_clock::now() + kLongestRun;
  while (::waitpid(id_, &status, WNOHANG) == 0) {
    if (std::chrono::steady_clock::now() > deadline) ::kill(id_, SIGKILL);
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  id_ = -1;
  out_.reader.join();
  err_.reader.join();
  CloseInput();
  return {WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status), out_.text, err_.text};
}

Result Run(const Invocation& invocation) { return Process(invocation).Wait(); }

Result Run(const std::vector<std::string>& arguments) { return Run(Invocation{.arguments = arguments}); }

std::vector<std::string> Words(const std::string& line) {
  std::istringstream in(line);
  return {std::istream_iterator<std::string>(in), {}};
}

std::vector<std::string> With(std::vector<std::string> arguments, const std::vector<std::string>& more) {
  arguments.insert(arguments.end(), more.begin(), more.end());
  return arguments;
}

}  // namespace triforce
