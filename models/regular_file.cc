#include "models/regular_file.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <system_error>

#include "kernels/core/error.h"

namespace triforce {
namespace fs = std::filesystem;
namespace {

[[noreturn]] void Fail(const std::string& path, const char* what) {
  const int number = errno;
  std::error_code status;
  if (number == ENOENT && fs::is_symlink(fs::symlink_status(path, status))) {
    throw Error(ErrorKind::kIo, path,
                fmt::format("is a link to {}, which does not exist", fs::read_symlink(path, status).string()),
                "The download may be incomplete: download the model again.");
  }
  throw Error(ErrorKind::kIo, path, fmt::format("{}: {}", what, std::strerror(number)));
}

const char* KindOf(mode_t mode) {
  if (S_ISDIR(mode)) return "is a directory, expected a file";
  if (S_ISFIFO(mode)) return "is a pipe, expected a regular file";
  return "is a device, expected a regular file";
}

}  // namespace

// O_NONBLOCK: a pipe without a writer is opened, and then refused; without it, open() waits for one.
RegularFile::RegularFile(const std::string& path)
    : descriptor_(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY)) {
  if (descriptor_ < 0) Fail(path, "cannot be opened");
  struct stat status;
  if (::fstat(descriptor_, &status) != 0) {
    ::close(descriptor_);
    Fail(path, "cannot be examined");
  }
  if (!S_ISREG(status.st_mode)) {
    ::close(descriptor_);
    throw Error(ErrorKind::kIo, path, KindOf(status.st_mode));
  }
  bytes_ = status.st_size;
}

RegularFile::~RegularFile() { ::close(descriptor_); }

std::string ReadRegularFile(const std::string& path, int64_t max_bytes) {
  const RegularFile file(path);
  std::string text;
  char block[1 << 16];
  while (true) {
    const ssize_t bytes = ::read(file.descriptor(), block, sizeof(block));
    if (bytes == 0) return text;
    if (bytes < 0 && errno == EINTR) continue;
    if (bytes < 0) Fail(path, "cannot be read");
    text.append(block, bytes);
    if (static_cast<int64_t>(text.size()) > max_bytes) {
      throw Error(ErrorKind::kInvalidInput, path,
                  fmt::format("is larger than {} bytes, the most that is read", max_bytes));
    }
  }
}

bool FileExists(const std::string& path) {
  std::error_code status;
  return fs::exists(fs::symlink_status(path, status));
}

}  // namespace triforce
