// The one exception type of the project, for what the outside world does wrong: files, memory, devices, requests.
//
// Not for our own mistakes: those are TF_CHECKs (check.h) and abort. Mains and the server turn an Error into an exit
// code or an HTTP status, in one place each.
#pragma once

#include <stdexcept>
#include <string>

namespace triforce {

enum class ErrorKind {
  kInvalidInput,  // a file or request says something it must not say
  kIo,            // the operating system refused or failed
  kOutOfMemory,   // a limit of some memory would be passed
  kUnsupported,   // well-formed, but nothing this program can do
  kUsage,         // flags that contradict each other or the model
};

class Error : public std::runtime_error {
 public:
  // `where`: file, with field or offset; or the memory that is short. `what`: what was found and what was expected
  // (bytes needed and available). `remedy`: what the reader can do about it, or empty where that is plain.
  // what() reads "WHERE: WHAT\n  REMEDY".
  Error(ErrorKind kind, const std::string& where, const std::string& what, const std::string& remedy = "");

  ErrorKind kind() const { return kind_; }
  // The same error, seen from what it happened in: what() reads "OUTER: WHERE: WHAT\n  REMEDY MORE_REMEDY".
  Error Within(const std::string& outer, const std::string& more_remedy = "") const;

 private:
  ErrorKind kind_;
  std::string remedy_;
};

}  // namespace triforce
