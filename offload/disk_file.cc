#include "offload/disk_file.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <random>

#include "kernels/core/error.h"

namespace triforce {
namespace {

constexpr char kPrefix[] = "triforce-";
constexpr char kSuffix[] = ".tmp";

// Where the file system can make no nameless file: a name that exists for a moment, locked so that no other run sweeps
// it away meanwhile.
int OpenNamed(const std::string& directory, int flags) {
  const std::string path =
      fmt::format("{}/{}{}-{:08x}{}", directory, kPrefix, ::getpid(), std::random_device()(), kSuffix);
  const int descriptor = ::open(path.c_str(), flags | O_CREAT | O_EXCL, 0600);
  if (descriptor < 0) return -1;
  ::flock(descriptor, LOCK_EX | LOCK_NB);
  ::unlink(path.c_str());
  return descriptor;
}

bool IsOurs(const std::filesystem::directory_entry& entry) {
  const std::string name = entry.path().filename();
  std::error_code ignored;
  return name.starts_with(kPrefix) && name.ends_with(kSuffix) && entry.is_regular_file(ignored) &&
         !entry.is_symlink(ignored);
}

}  // namespace

DiskFile::DiskFile(const std::string& directory, bool allow_direct) : directory_(directory) {
  if (directory.empty()) {
    throw Error(ErrorKind::kUsage, "--disk", "is missing", "The plan puts bytes on disk: give a folder on a fast one.");
  }
  Sweep(directory);
  if (allow_direct) {
    descriptor_ = Open(O_DIRECT);
    direct_ = descriptor_ >= 0;
  }
  if (descriptor_ < 0) descriptor_ = Open(0);
  if (descriptor_ < 0) {
    throw Error(ErrorKind::kIo, directory, fmt::format("no file can be made here: {}", std::strerror(errno)),
                "Give another folder with --disk.");
  }
}

DiskFile::~DiskFile() { ::close(descriptor_); }

int DiskFile::Open(int flags) const {
  flags |= O_RDWR | O_CLOEXEC;
  const int descriptor = ::open(directory_.c_str(), flags | O_TMPFILE, 0600);
  if (descriptor >= 0 || (errno != EOPNOTSUPP && errno != EISDIR)) return descriptor;
  return OpenNamed(directory_, flags);
}

int64_t DiskFile::FreeBytes() const {
  struct statvfs stat {};
  if (::fstatvfs(descriptor_, &stat) != 0) return 0;
  return static_cast<int64_t>(stat.f_bavail) * static_cast<int64_t>(stat.f_frsize);
}

void DiskFile::Reserve(int64_t offset, int64_t bytes, const std::string& purpose) {
  const int64_t free = FreeBytes();
  int reason = bytes > free ? ENOSPC : 0;
  while (reason == 0 && ::fallocate(descriptor_, 0, offset, bytes) != 0) {
    if (errno == EINTR) continue;
    if (errno != EOPNOTSUPP) {
      reason = errno;
    } else if (::ftruncate(descriptor_, offset + bytes) != 0) {  // this file system gives space when it is written
      reason = errno;
    }
    break;
  }
  if (reason == 0) return;
  throw Error(
      ErrorKind::kOutOfMemory, directory_,
      fmt::format("{} needs {} bytes on disk; {} are available: {}", purpose, bytes, free, std::strerror(reason)),
      "Give a folder with more space with --disk, or shorten the context.");
}

int64_t DiskFile::Sweep(const std::string& directory) {
  int64_t removed = 0;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(directory, error)) {
    if (!IsOurs(entry)) continue;
    const int descriptor = ::open(entry.path().c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (descriptor < 0) continue;
    if (::flock(descriptor, LOCK_EX | LOCK_NB) == 0 && ::unlink(entry.path().c_str()) == 0) ++removed;
    ::close(descriptor);
  }
  return removed;
}

}  // namespace triforce
