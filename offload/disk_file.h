// DiskFile: a file without a name in a folder: how it is made, given space, and what earlier runs left is removed.
#pragma once

#include <cstdint>
#include <string>

namespace triforce {

class DiskFile {
 public:
  // Throws Error (kIo, kUsage).
  DiskFile(const std::string& directory, bool allow_direct);
  ~DiskFile();
  DiskFile(const DiskFile&) = delete;
  DiskFile& operator=(const DiskFile&) = delete;

  int descriptor() const { return descriptor_; }
  bool direct() const { return direct_; }
  const std::string& directory() const { return directory_; }

  // Bytes that the file system has free for us; 0 where it does not say.
  int64_t FreeBytes() const;
  // Takes the space [offset, offset + bytes). Throws Error (kOutOfMemory) with bytes needed and available.
  void Reserve(int64_t offset, int64_t bytes, const std::string& purpose);

  // Removes the files of dead runs from `directory`: those with our kind of name that nobody holds locked. Returns how
  // many.
  static int64_t Sweep(const std::string& directory);

 private:
  int Open(int flags) const;

  const std::string directory_;
  int descriptor_ = -1;
  bool direct_ = false;
};

}  // namespace triforce
