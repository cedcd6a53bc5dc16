#include "kernels/core/system_memory.h"

#include <algorithm>
#include <fstream>
#include <limits>
#include <string>

namespace triforce {
namespace {

// The number behind `field` in a file of lines "field: number kB", in bytes; 0 if it is not there.
int64_t KibField(const char* path, const std::string& field) {
  std::ifstream file(path);
  for (std::string word; file >> word;) {
    int64_t kib = 0;
    if (word == field && file >> kib) return kib << 10;
  }
  return 0;
}

// The number in a file; "max" or nothing: no limit.
int64_t NumberIn(const char* path) {
  std::ifstream file(path);
  int64_t number = 0;
  return file >> number ? number : std::numeric_limits<int64_t>::max();
}

// What a limit leaves; a lot where there is none.
int64_t Left(const char* limit_path, const char* usage_path) {
  const int64_t limit = NumberIn(limit_path);
  const int64_t usage = NumberIn(usage_path);
  if (limit == std::numeric_limits<int64_t>::max() || usage == limit) return std::numeric_limits<int64_t>::max();
  return std::max<int64_t>(0, limit - usage);
}

}  // namespace

int64_t AvailableMemoryBytes() {
  return std::min({KibField("/proc/meminfo", "MemAvailable:"),
                   Left("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
                   Left("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes")});
}

int64_t PeakResidentBytes() { return KibField("/proc/self/status", "VmHWM:"); }

}  // namespace triforce
