#include "models/output_file.h"

#include <fmt/core.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

#include "kernels/core/error.h"

namespace triforce {
namespace {

namespace fs = std::filesystem;

bool IsSpecial(const std::string& path) {
  if (path.starts_with("/dev/") || path.starts_with("/proc/")) return true;
  std::error_code ignored;
  const auto status = fs::status(path, ignored);
  return fs::exists(status) && !fs::is_regular_file(status);
}

// The file that `path` leads to, links followed.
std::string Resolved(const std::string& path) {
  std::error_code error;
  const fs::path resolved = fs::is_symlink(path, error) ? fs::weakly_canonical(path, error) : fs::path(path);
  return error || resolved.empty() ? path : resolved.string();
}

}  // namespace

OutputFile::OutputFile(const std::string& path)
    : path_(IsSpecial(path) ? path : Resolved(path)),
      temporary_path_(IsSpecial(path) ? "" : fmt::format("{}.{}.tmp", path_, ::getpid())),
      file_(std::fopen((temporary_path_.empty() ? path_ : temporary_path_).c_str(),
                       temporary_path_.empty() ? "ab" : "wb"),
            &std::fclose) {
  if (file_ == nullptr) Fail();
}

OutputFile::~OutputFile() {
  if (file_ != nullptr && !temporary_path_.empty()) ::unlink(temporary_path_.c_str());
}

void OutputFile::Write(const void* data, size_t bytes) {
  if (std::fwrite(data, 1, bytes, file_.get()) != bytes) Fail();
}

void OutputFile::Commit() {
  if (std::fflush(file_.get()) != 0) Fail();
  if (!temporary_path_.empty() && std::rename(temporary_path_.c_str(), path_.c_str()) != 0) Fail();
  file_.reset();
}

void OutputFile::Fail() const {
  throw Error(ErrorKind::kIo, path_, fmt::format("cannot be written: {}", std::strerror(errno)));
}

}  // namespace triforce
