#include "models/mapped_file.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "kernels/core/error.h"

namespace triforce {
namespace {

[[noreturn]] void Fail(const std::string& path, const char* what) {
  throw Error(ErrorKind::kIo, path, fmt::format("{}: {}", what, std::strerror(errno)));
}

// Closes a file descriptor at the end of a scope.
struct Descriptor {
  int fd;
  ~Descriptor() {
    if (fd >= 0) ::close(fd);
  }
};

}  // namespace

MappedFile::MappedFile(const std::string& path) : path_(path) {
  // O_NONBLOCK: a pipe is refused, not waited for. It changes nothing for a file.
  const Descriptor file{::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
  if (file.fd < 0) Fail(path, "cannot be opened");
  struct stat status;
  if (::fstat(file.fd, &status) != 0) Fail(path, "cannot be examined");
  if (!S_ISREG(status.st_mode)) throw Error(ErrorKind::kIo, path, "is no regular file");
  if (status.st_size == 0) throw Error(ErrorKind::kInvalidInput, path, "is empty");
  void* data = ::mmap(nullptr, status.st_size, PROT_READ, MAP_PRIVATE, file.fd, 0);
  if (data == MAP_FAILED) Fail(path, "cannot be mapped");
  bytes_ = {static_cast<const std::byte*>(data), static_cast<size_t>(status.st_size)};
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : path_(std::move(other.path_)), bytes_(std::exchange(other.bytes_, {})) {}

MappedFile::~MappedFile() {
  if (!bytes_.empty()) ::munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
}

}  // namespace triforce
