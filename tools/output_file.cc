#include "tools/output_file.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <mutex>
#include <set>

#include "kernels/core/check.h"
#include "kernels/core/error.h"

namespace triforce {
namespace {

std::mutex unfinished_mutex;
std::set<std::string>& Unfinished() {  // guarded by unfinished_mutex
  static std::set<std::string>* const paths = new std::set<std::string>;
  return *paths;
}

[[noreturn]] void Fail(const std::string& path, const std::string& doing) {
  throw Error(ErrorKind::kIo, path, fmt::format("{}: {}", doing, std::strerror(errno)));
}

void WriteAll(int file, std::string_view content, const std::string& path) {
  while (!content.empty()) {
    const ssize_t written = ::write(file, content.data(), content.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) {
      const int error = errno;
      ::close(file);
      errno = error;
      Fail(path, "cannot write");
    }
    content.remove_prefix(static_cast<size_t>(written));
  }
}

}  // namespace

OutputFile::OutputFile(std::string path) : path_(std::move(path)), temporary_path_(path_) {
  struct stat status {};
  const bool exists = ::stat(path_.c_str(), &status) == 0;
  if (exists && S_ISDIR(status.st_mode)) throw Error(ErrorKind::kIo, path_, "is a directory, expected a file");
  if ((exists && !S_ISREG(status.st_mode)) || path_.starts_with("/dev/") || path_.starts_with("/proc/")) return;
  if (exists) path_ = std::filesystem::canonical(path_).string();  // a link stays one
  temporary_path_ = fmt::format("{}.{}.partial", path_, ::getpid());
  std::lock_guard lock(unfinished_mutex);
  const int file = ::open(temporary_path_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (file < 0) Fail(path_, "cannot be written");
  ::close(file);
  Unfinished().insert(temporary_path_);
}

OutputFile::~OutputFile() {
  if (!open_ || temporary_path_ == path_) return;
  std::lock_guard lock(unfinished_mutex);
  ::unlink(temporary_path_.c_str());
  Unfinished().erase(temporary_path_);
}

void OutputFile::Write(std::string_view content) {
  TF_CHECK(open_);
  // Appending: standard output under its name in /dev may hold text already.
  const int file = ::open(temporary_path_.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC);
  if (file < 0) Fail(path_, "cannot be opened for writing");
  WriteAll(file, content, path_);
  if (::close(file) != 0) Fail(path_, "cannot write");
}

void OutputFile::Commit() {
  TF_CHECK(open_);
  open_ = false;
  if (temporary_path_ == path_) return;
  std::lock_guard lock(unfinished_mutex);
  Unfinished().erase(temporary_path_);
  if (::rename(temporary_path_.c_str(), path_.c_str()) != 0) {
    const int error = errno;
    ::unlink(temporary_path_.c_str());
    errno = error;
    Fail(path_, "cannot take its name");
  }
}

void RemoveUnfinishedOutputFiles() {
  std::lock_guard lock(unfinished_mutex);
  for (const std::string& path : Unfinished()) ::unlink(path.c_str());
}

}  // namespace triforce
