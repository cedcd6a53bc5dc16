// TF_CHECK: a broken precondition or invariant of our own ends the process, with file, line and a message.
//
// Always on, in optimised builds too: keep it out of inner loops. Named TF_ because doctest owns CHECK.
#pragma once

#ifndef __CUDACC__
#include <fmt/core.h>
#endif

#include <string>

namespace triforce {

[[noreturn]] void CheckFailed(const char* file, int line, const char* condition, const std::string& message);

}  // namespace triforce

// TF_CHECK(rows > 0) or TF_CHECK(rows > 0, "rows {}", rows).
#ifndef __CUDACC__
#define TF_CHECK(condition, ...)                                                              \
  do {                                                                                        \
    if (!(condition)) [[unlikely]] {                                                          \
      ::triforce::CheckFailed(__FILE__, __LINE__, #condition, ::fmt::format("" __VA_ARGS__)); \
    }                                                                                         \
  } while (false)
#else  // nvcc cannot compile fmt: in headers that .cu files share, a failed check says its condition alone
#define TF_CHECK(condition, ...)                                                                              \
  do {                                                                                                        \
    if (!(condition)) [[unlikely]] ::triforce::CheckFailed(__FILE__, __LINE__, #condition, ::std::string()); \
  } while (false)
#endif
