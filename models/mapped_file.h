// MappedFile: a whole file, read-only, as memory. Moved, not copied; unmapped when it goes.
//
// A file that is cut short while mapped raises SIGBUS on access, as any mapping does: weights are copied out once, at
// load, right after their file's size was checked.
#pragma once

#include <cstddef>
#include <span>
#include <string>

namespace triforce {

class MappedFile {
 public:
  // Throws Error: as RegularFile does (regular_file.h); kInvalidInput for an empty file.
  explicit MappedFile(const std::string& path);
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) = delete;
  ~MappedFile();

  const std::string& path() const { return path_; }
  std::span<const std::byte> bytes() const { return bytes_; }

 private:
  std::string path_;
  std::span<const std::byte> bytes_;
};

}  // namespace triforce
