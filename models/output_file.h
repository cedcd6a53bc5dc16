// OutputFile: a file that appears whole or not at all.
//
// Bytes go to a temporary file beside the target, which takes the target's name in Commit. Without Commit (an error, an
// interruption) the temporary file is removed and what stood there before stays. A link stays and its target is
// replaced. A target that is no regular file (a pipe, a device), or lies below /dev or /proc (/dev/stdout), is written
// directly.
#pragma once

#include <cstdio>
#include <memory>
#include <string>
#include <string_view>

namespace triforce {

class OutputFile {
 public:
  // Throws Error (kIo) as all methods do: made early, it tells early that a path cannot be written.
  explicit OutputFile(const std::string& path);
  OutputFile(OutputFile&&) = default;
  ~OutputFile();

  void Write(const void* data, size_t bytes);
  void Write(std::string_view text) { Write(text.data(), text.size()); }
  void Commit();

 private:
  [[noreturn]] void Fail() const;

  std::string path_;
  std::string temporary_path_;  // empty: written directly
  std::unique_ptr<std::FILE, int (*)(std::FILE*)> file_;
};

}  // namespace triforce
