#include "kernels/core/cpu_device.h"

#include <fmt/core.h>
#include <sys/mman.h>

#include <cerrno>
#include <cstring>

#include "kernels/core/check.h"
#include "kernels/core/cpu_lane.h"
#include "kernels/core/error.h"

namespace triforce {
namespace {

constexpr int64_t kHugePageBytes = int64_t{2} << 20;

}  // namespace

CpuDevice::CpuDevice(int64_t memory_limit_bytes, Trace* trace) : memory_(memory_limit_bytes), trace_(trace) {}

Buffer CpuDevice::Allocate(int64_t bytes, const std::string& purpose) {
  TF_CHECK(bytes >= 0, "{} bytes for {}", bytes, purpose);
  if (bytes == 0) return Buffer();
  const int64_t before = memory_.Reserve(bytes, "device memory", purpose);
  void* data = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (data == MAP_FAILED) {
    const int reason = errno;
    memory_.Release(bytes);
    throw Error(ErrorKind::kOutOfMemory, "memory",
                fmt::format("{} needs {} bytes, which the system refused: {}", purpose, bytes, std::strerror(reason)));
  }
  // Fewer page faults and TLB misses; a system that has it switched off only says no.
  if (bytes >= kHugePageBytes) ::madvise(data, bytes, MADV_HUGEPAGE);
  memory_.Allocated(before, bytes);
  return Buffer(this, data, bytes);
}

void CpuDevice::Free(void* data, int64_t bytes) {
  TF_CHECK(::munmap(data, bytes) == 0, "{}", std::strerror(errno));
  memory_.Release(bytes);
}

std::unique_ptr<Lane> CpuDevice::NewLane(const LaneOptions& options) {
  return std::make_unique<CpuLane>(*this, options, trace_);
}

std::unique_ptr<Event> CpuDevice::NewEvent() { return std::make_unique<CpuEvent>(); }

}  // namespace triforce
