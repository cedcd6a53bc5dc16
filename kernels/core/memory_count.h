// MemoryCount: a device's memory against its limit: what is used, and the most that ever was. Thread-safe.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>

namespace triforce {

class MemoryCount {
 public:
  explicit MemoryCount(int64_t limit_bytes) : limit_bytes_(limit_bytes) {}

  int64_t limit_bytes() const { return limit_bytes_; }
  int64_t used_bytes() const { return used_bytes_.load(); }
  int64_t peak_bytes() const { return peak_bytes_.load(); }

  // Counts `bytes` as used, and returns how many were before. Throws Error (kOutOfMemory), having counted nothing,
  // where the limit would be passed: `where` is the memory, `purpose` what it is for.
  int64_t Reserve(int64_t bytes, const std::string& where, const std::string& purpose);
  // Reserved bytes were to be had; `before` is Reserve's.
  void Allocated(int64_t before, int64_t bytes);
  // They were not, or have been given back.
  void Release(int64_t bytes) { used_bytes_.fetch_sub(bytes); }

 private:
  const int64_t limit_bytes_;
  std::atomic<int64_t> used_bytes_{0};
  std::atomic<int64_t> peak_bytes_{0};
};

}  // namespace triforce
