#include "models/output_file.h"

#include <fmt/core.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

#include "kernels/core/error.h"

namespace triforce {
namespace {

bool IsSpecial(const std::string& path) {
  std::error_code ignored;
  const auto status = std::filesystem::status(path, ignored);
  return std::filesystem::exists(status) && !std::filesystem::is_regular_file(status);
}

}  // namespace

OutputFile::OutputFile(const std::string& path)
    : path_(path),
      temporary_path_(IsSpecial(path) ? "" : fmt::format("{}.{}.tmp", path, ::getpid())),
      file_(std::fopen((temporary_path_.empty() ? path_ : temporary_path_).c_str(), "wb"), &std::fclose) {
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
