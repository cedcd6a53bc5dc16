// HostPool: the memory of the host tier, made once before the first pass and cut into pieces from front to back.
//
// One anonymous mapping, touched before it is handed out, so that no page fault and no refusal comes later. Locked
// where asked and allowed: an mmap that is prefaulted, then locked, is about twice as fast as cudaHostAlloc, and
// io_uring's fixed buffers want it too. Where locking is not allowed (a memlock limit) the pool is pageable, works all
// the same, and says so.
//
// Owns its memory; the pieces are views that end with it. Not a general allocator: nothing is given back singly. Moved,
// not copied. Not thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>

namespace triforce {

struct HostPoolOptions {
  int64_t bytes = 0;
  bool huge_pages = true;            // transparent ones, where the system has them
  bool reserved_huge_pages = false;  // try those of /proc/sys/vm/nr_hugepages first
  std::optional<int> numa_node;      // preferred: a node that is full gives way to another, and not to the OOM killer
  bool lock = true;
  int threads = 4;  // that touch the memory
};

class HostPool {
 public:
  static constexpr int64_t kAlignmentBytes = 4096;

  // An empty pool.
  HostPool() = default;
  // Throws Error: kOutOfMemory, with bytes needed and available, before any memory is touched, where the machine or its
  // control group has not that much (touching more than there is would call the OOM killer); kUsage where there is no
  // such NUMA node. REQUIRES: bytes >= 0; threads >= 1.
  explicit HostPool(const HostPoolOptions& options);

  // The next piece, aligned to kAlignmentBytes, zeroed. `purpose` stands in the error: "the KV's streamed blocks".
  // Throws Error (kOutOfMemory) where the pool has not that much left. REQUIRES: bytes >= 0.
  std::span<std::byte> Cut(int64_t bytes, const std::string& purpose);

  int64_t bytes() const { return bytes_; }
  // All of it, for a device to pin.
  std::span<std::byte> memory() const { return {mapping_.get(), static_cast<size_t>(bytes_)}; }
  int64_t used_bytes() const { return used_bytes_; }
  bool locked() const { return locked_; }
  // "locked, transparent huge pages", "pageable: the memlock limit is 8.0 MiB, ..."
  const std::string& description() const { return description_; }

 private:
  struct Unmap {
    int64_t bytes;
    void operator()(std::byte* data) const;
  };

  // Set mapping_ and begin description_.
  void MapReserved(const HostPoolOptions& options);  // leaves it null where too few huge pages are free
  void MapPages(const HostPoolOptions& options);
  void Lock();

  std::unique_ptr<std::byte, Unmap> mapping_;
  int64_t bytes_ = 0;
  int64_t used_bytes_ = 0;
  bool locked_ = false;
  std::string description_ = "empty";
};

}  // namespace triforce
