#include "kernels/core/memory_count.h"

#include <fmt/core.h>

#include "kernels/core/error.h"

namespace triforce {

int64_t MemoryCount::Reserve(int64_t bytes, const std::string& where, const std::string& purpose) {
  int64_t before = used_bytes_.load();
  do {
    if (before + bytes <= limit_bytes_) continue;
    throw Error(
        ErrorKind::kOutOfMemory, where,
        fmt::format("{} needs {} bytes; {} of {} are available", purpose, bytes, limit_bytes_ - before, limit_bytes_),
        "Raise --device-memory, or shorten the context (--ctx-size, --predict, the prompt).");
  } while (!used_bytes_.compare_exchange_weak(before, before + bytes));
  return before;
}

void MemoryCount::Allocated(int64_t before, int64_t bytes) {
  int64_t peak = peak_bytes_.load();
  while (peak < before + bytes && !peak_bytes_.compare_exchange_weak(peak, before + bytes)) {
  }
}

}  // namespace triforce
