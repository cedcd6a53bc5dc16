// ScratchDirectory: a directory of a test's own, for hostile files and for what is written; gone when the test ends.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>

#include "kernels/core/error.h"

namespace triforce {

class ScratchDirectory {
 public:
  // Empty, below TEST_TMPDIR.
  ScratchDirectory();
  ScratchDirectory(const ScratchDirectory&) = delete;
  ScratchDirectory& operator=(const ScratchDirectory&) = delete;
  ~ScratchDirectory();

  const std::string& path() const { return path_; }
  // Writes PATH/`name` (replaced where it exists) and returns its whole path.
  std::string Write(std::string_view name, std::string_view content) const;
  // How many files there are: to see that nothing half-written stayed.
  int64_t files() const;

 private:
  std::string path_;
};

// The Error that `action` throws, as "KIND WHERE: WHAT..."; "no error" where it throws none.
template <typename Action>
std::string ErrorOf(const Action& action) {
  try {
    action();
  } catch (const Error& error) {
    constexpr std::string_view kKinds[] = {"kInvalidInput ", "kIo ", "kOutOfMemory ", "kUnsupported ", "kUsage "};
    return std::string(kKinds[static_cast<int>(error.kind())]) + error.what();
  }
  return "no error";
}

// Whether `text` has all of `parts` in it, in any order. Prints the text where it has not.
bool HasAll(std::string_view text, std::initializer_list<std::string_view> parts);

}  // namespace triforce
