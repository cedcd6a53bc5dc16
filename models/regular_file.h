// RegularFile: a file of a model directory, open for reading. What is no regular file (a pipe, a device, a socket, a
// directory) is refused and never waited for.
//
// Not for prompts, which may come through a pipe (json_file.h: ReadFile).
#pragma once

#include <cstdint>
#include <string>

namespace triforce {

class RegularFile {
 public:
  // Throws Error (kIo), with the system's reason.
  explicit RegularFile(const std::string& path);
  RegularFile(const RegularFile&) = delete;
  RegularFile& operator=(const RegularFile&) = delete;
  ~RegularFile();

  int descriptor() const { return descriptor_; }
  int64_t bytes() const { return bytes_; }  // when it was opened

 private:
  int descriptor_ = -1;
  int64_t bytes_ = 0;
};

// The whole of a file. Throws Error (kIo; kInvalidInput beyond `max_bytes`).
std::string ReadRegularFile(const std::string& path, int64_t max_bytes);

// Whether there is anything of that name: also a link that leads nowhere, which is then told when it is opened. What
// cannot be looked at counts as absent.
bool FileExists(const std::string& path);

}  // namespace triforce
