// OutputFile: a file that appears whole or not at all.
//
// It is written under a temporary name beside its own and takes its name in Commit. What stood there before stays until
// then. Made before the work whose result it will hold, so that a path that cannot be written is known at once.
// What is no regular file, and all in /dev, is written directly.
#pragma once

#include <string>
#include <string_view>

namespace triforce {

class OutputFile {
 public:
  // Throws Error (kIo).
  explicit OutputFile(std::string path);
  // Removes what was not committed.
  ~OutputFile();
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  // Where to write, for writers that open files themselves.
  const std::string& temporary_path() const { return temporary_path_; }

  // Throw Error (kIo). REQUIRES: not committed yet.
  void Write(std::string_view content);  // behind what was written before
  void Commit();

 private:
  std::string path_;
  std::string temporary_path_;
  bool open_ = true;
};

// Removes the temporary files of all OutputFiles there are, for a process about to end without destructors.
// Thread-safe.
void RemoveUnfinishedOutputFiles();

}  // namespace triforce
