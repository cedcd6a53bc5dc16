#include "offload/host_pool.h"

#include <fmt/core.h>
#include <numa.h>
#include <numaif.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <system_error>
#include <thread>
#include <vector>

#include "kernels/core/check.h"
#include "kernels/core/error.h"
#include "kernels/core/system_memory.h"

namespace triforce {
namespace {

constexpr int64_t kMiB = int64_t{1} << 20;
constexpr int64_t kPieceBytes = 64 * kMiB;        // that one thread touches at a time; whole huge pages
constexpr int64_t kReservedPageBytes = 2 * kMiB;  // the default huge page of x86-64 and arm64
constexpr int64_t kMostForOthersBytes = 256 * kMiB;

// What a pool may take: all that is available but a little, which page tables and the rest of the program need. Less
// than nothing where the system does not say.
int64_t Available() {
  const int64_t bytes = AvailableMemoryBytes();
  return bytes > 0 ? bytes - std::min(bytes / 16, kMostForOthersBytes) : -1;
}

// Null, with errno, where the system refuses.
std::byte* Map(int64_t bytes, int flags) {
  void* data = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);
  return data == MAP_FAILED ? nullptr : static_cast<std::byte*>(data);
}

// False, with errno, where the memory is not to be had.
bool Populate(std::byte* data, int64_t bytes, int64_t page_bytes) {
#ifdef MADV_POPULATE_WRITE
  if (::madvise(data, bytes, MADV_POPULATE_WRITE) == 0) return true;
  if (errno != EINVAL) return false;
#endif
  // Before Linux 5.14: one write a page.
  for (int64_t at = 0; at < bytes; at += page_bytes) *reinterpret_cast<volatile std::byte*>(data + at) = std::byte{0};
  return true;
}

// Touches all pages with several threads, since the system zeroes each: 1 to 3 GB/s by one. Returns 0 or an errno.
int Prefault(std::byte* data, int64_t bytes, int threads) {
  const int64_t page_bytes = ::sysconf(_SC_PAGESIZE);
  std::atomic<int64_t> next{0};
  std::atomic<int> refused{0};
  const auto touch = [&] {
    for (int64_t at = 0; refused == 0 && (at = next.fetch_add(kPieceBytes)) < bytes;) {
      if (!Populate(data + at, std::min(kPieceBytes, bytes - at), page_bytes)) refused = errno;
    }
  };
  std::vector<std::jthread> helpers;
  const int64_t pieces = (bytes + kPieceBytes - 1) / kPieceBytes;
  try {
    for (int64_t i = 1; i < std::min<int64_t>(threads, pieces); ++i) helpers.emplace_back(touch);
  } catch (const std::system_error&) {  // the system refuses more threads: with fewer it takes longer, no more
  }
  touch();
  helpers.clear();  // joins
  return refused;
}

// Asks for pages of `node`; returns what to say of it.
std::string PreferNode(std::byte* data, int64_t bytes, int node) {
  constexpr int kWordBits = 64;
  const int last = ::numa_available() < 0 ? 0 : ::numa_max_node();
  std::array<unsigned long, 16> mask{};  // NOLINT(google-runtime-int): mbind has it so
  if (node < 0 || node > last || node >= static_cast<int>(mask.size()) * kWordBits) {
    throw Error(ErrorKind::kUsage, fmt::format("NUMA node {}", node),
                fmt::format("does not exist; this machine's nodes are 0 to {}", last));
  }
  mask[node / kWordBits] = 1ul << (node % kWordBits);
  // A container may forbid it; the memory is as good, only perhaps farther away.
  if (::mbind(data, bytes, MPOL_PREFERRED, mask.data(), mask.size() * kWordBits, 0) != 0) {
    return fmt::format(", on any NUMA node ({})", std::strerror(errno));
  }
  return fmt::format(", on NUMA node {}", node);
}

// Why locking failed with `reason`.
std::string WhyPageable(int reason) {
  rlimit limit{};
  if (::getrlimit(RLIMIT_MEMLOCK, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY) {
    return fmt::format("pageable: the memlock limit is {:.1f} MiB", static_cast<double>(limit.rlim_cur) / kMiB);
  }
  return fmt::format("pageable: the system does not lock it ({})", std::strerror(reason));
}

}  // namespace

void HostPool::Unmap::operator()(std::byte* data) const {
  TF_CHECK(::munmap(data, bytes) == 0, "{}", std::strerror(errno));
}

HostPool::HostPool(const HostPoolOptions& options) {
  TF_CHECK(options.bytes >= 0 && options.threads >= 1, "{} bytes, {} threads", options.bytes, options.threads);
  if (options.bytes == 0) return;
  description_.clear();
  if (options.reserved_huge_pages) MapReserved(options);
  if (mapping_ == nullptr) MapPages(options);
  bytes_ = options.bytes;
  if (options.lock) {
    Lock();
  } else {
    description_ = "pageable: locking was not asked for" + description_;
  }
}

void HostPool::MapReserved(const HostPoolOptions& options) {
  const int64_t bytes = (options.bytes + kReservedPageBytes - 1) / kReservedPageBytes * kReservedPageBytes;
  std::byte* const data = Map(bytes, MAP_HUGETLB);
  if (data == nullptr) return;
  mapping_ = {data, Unmap{bytes}};
  const std::string where = options.numa_node ? PreferNode(data, bytes, *options.numa_node) : "";
#ifdef MADV_POPULATE_WRITE
  // Never by writing: a control group's limit on these pages is told by SIGBUS.
  if (::madvise(data, bytes, MADV_POPULATE_WRITE) == 0) {
    description_ = ", reserved huge pages" + where;
    return;
  }
#endif
  mapping_.reset();
}

void HostPool::MapPages(const HostPoolOptions& options) {
  const auto fail = [&](const std::string& rest) {
    throw Error(ErrorKind::kOutOfMemory, "host memory", fmt::format("the pool needs {} bytes; {}", options.bytes, rest),
                "Lower --host-memory, or close what else uses memory.");
  };
  const int64_t available = Available();
  if (available >= 0 && options.bytes > available) fail(fmt::format("{} are available", available));
  std::byte* const data = Map(options.bytes, 0);
  if (data == nullptr) fail(fmt::format("the system refused them: {}", std::strerror(errno)));
  mapping_ = {data, Unmap{options.bytes}};
  const std::string where = options.numa_node ? PreferNode(data, options.bytes, *options.numa_node) : "";
  // Fewer TLB misses; a system that has it switched off only says no.
  const bool huge = options.huge_pages && ::madvise(data, options.bytes, MADV_HUGEPAGE) == 0;
  const int refused = Prefault(data, options.bytes, options.threads);
  if (refused != 0) fail(fmt::format("the system gave fewer: {}", std::strerror(refused)));
  description_ = (huge ? ", transparent huge pages" : "") + where;
}

void HostPool::Lock() {
  // mlock by its number: AddressSanitizer makes the function do nothing.
  locked_ = ::syscall(SYS_mlock, mapping_.get(), bytes_) == 0;
  description_ = (locked_ ? "locked" : WhyPageable(errno)) + description_;
}

std::span<std::byte> HostPool::Cut(int64_t bytes, const std::string& purpose) {
  TF_CHECK(bytes >= 0, "{} bytes for {}", bytes, purpose);
  const int64_t begin = (used_bytes_ + kAlignmentBytes - 1) / kAlignmentBytes * kAlignmentBytes;
  const int64_t available = std::max<int64_t>(0, bytes_ - begin);
  if (bytes > available) {
    throw Error(ErrorKind::kOutOfMemory, "host pool",
                fmt::format("{} needs {} bytes; {} of {} are available", purpose, bytes, available, bytes_),
                "Raise --host-memory.");
  }
  if (bytes == 0) return {};
  used_bytes_ = begin + bytes;
  return {mapping_.get() + begin, static_cast<size_t>(bytes)};
}

}  // namespace triforce
