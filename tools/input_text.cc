#include "tools/input_text.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>

#include "kernels/core/error.h"
#include "tools/interrupt.h"

namespace triforce {
namespace {

constexpr int64_t kMostBytes = int64_t{1} << 30;
constexpr int kPollMilliseconds = 100;

// A file to read from, and what messages call it.
class InputFile {
 public:
  explicit InputFile(const std::string& path) {
    if (path == "-") return;
    name_ = path.empty() ? "\"\"" : path;
    // A FIFO without a writer would not let us go before one comes, whatever signals come first.
    file_ = ::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (file_ < 0) Fail("cannot be opened");
  }
  ~InputFile() {
    if (file_ > STDIN_FILENO) ::close(file_);
  }
  InputFile(const InputFile&) = delete;
  InputFile& operator=(const InputFile&) = delete;

  // A part of it; empty at its end.
  std::string Read(const std::stop_token& stop) {
    char block[1 << 16];
    while (true) {
      if (stop.stop_requested()) throw Interrupted{};
      pollfd input{file_, POLLIN, 0};
      if (::poll(&input, 1, kPollMilliseconds) == 0) continue;
      const ssize_t bytes = ::read(file_, block, sizeof(block));
      if (bytes >= 0) return std::string(block, bytes);
      if (errno == EISDIR) throw Error(ErrorKind::kIo, name_, "is a directory, expected a file");
      if (errno != EINTR && errno != EAGAIN) Fail("cannot be read");
    }
  }

  const std::string& name() const { return name_; }

 private:
  [[noreturn]] void Fail(const char* what) const {
    throw Error(ErrorKind::kIo, name_, fmt::format("{}: {}", what, std::strerror(errno)));
  }

  int file_ = STDIN_FILENO;
  std::string name_ = "stdin";
};

}  // namespace

std::string ReadInputText(const std::string& path, const std::stop_token& stop) {
  InputFile file(path);
  std::string text;
  for (std::string part = file.Read(stop); !part.empty(); part = file.Read(stop)) {
    text += part;
    if (static_cast<int64_t>(text.size()) > kMostBytes) {
      throw Error(ErrorKind::kInvalidInput, file.name(),
                  fmt::format("is larger than {} bytes, the most that is read", kMostBytes));
    }
  }
  return text;
}

}  // namespace triforce
