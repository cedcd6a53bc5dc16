#include "offload/measure_disk.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <stdlib.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <thread>
#include <vector>

#include "kernels/core/error.h"
#include "offload/host_pool.h"

namespace triforce {
namespace {

constexpr int64_t kBlockBytes = int64_t{1} << 20;
constexpr int kThreads = 4;
constexpr int kRounds = 3;

[[noreturn]] void Fail(const std::string& directory, const std::string& what, int reason) {
  throw Error(ErrorKind::kIo, directory, fmt::format("{}: {}", what, std::strerror(reason)));
}

// An open file without a name.
class NamelessFile {
 public:
  explicit NamelessFile(const std::string& directory) {
    std::string path = directory + "/triforce-doctor-XXXXXX";
    file_ = ::mkostemp(path.data(), O_CLOEXEC);
    if (file_ < 0) Fail(directory, "no file can be made here", errno);
    ::unlink(path.c_str());
    bypasses_cache_ = ::fcntl(file_, F_SETFL, O_DIRECT) == 0;
  }
  ~NamelessFile() { ::close(file_); }
  NamelessFile(const NamelessFile&) = delete;
  NamelessFile& operator=(const NamelessFile&) = delete;

  int get() const { return file_; }
  bool bypasses_cache() const { return bypasses_cache_; }

 private:
  int file_ = -1;
  bool bypasses_cache_ = false;
};

void CheckSpace(const std::string& directory, int64_t bytes) {
  struct statvfs space {};
  if (::statvfs(directory.c_str(), &space) != 0) Fail(directory, "cannot be used", errno);
  const auto available = static_cast<int64_t>(space.f_bavail * space.f_frsize);
  if (bytes > available) {
    throw Error(ErrorKind::kOutOfMemory, directory,
                fmt::format("measuring the disk needs {} bytes; {} are available", bytes, available),
                "Free some space, or give another folder with --disk.");
  }
}

// Calls move(block, offset) for all blocks, with several threads, each with a block of its own; returns the seconds. A
// move that does not give kBlockBytes failed, by errno.
template <typename Move>
double ForAllBlocks(const std::string& directory, const std::array<std::byte*, kThreads>& blocks, int64_t bytes,
                    const Move& move) {
  std::atomic<int64_t> next{0};
  std::atomic<int> reason{0};
  const auto begin = std::chrono::steady_clock::now();
  {
    std::vector<std::jthread> threads;
    threads.reserve(blocks.size());
    for (std::byte* const block : blocks) {
      threads.emplace_back([&, block] {
        for (int64_t at = 0; reason == 0 && (at = next.fetch_add(kBlockBytes)) < bytes;) {
          errno = 0;
          if (move(block, at) != kBlockBytes) reason = errno != 0 ? errno : EIO;
        }
      });
    }
  }
  if (reason != 0) Fail(directory, "a file cannot be written and read here", reason);
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

}  // namespace

DiskRates MeasureDisk(const std::string& directory, int64_t bytes, const std::function<void()>& between_rounds) {
  bytes = std::max<int64_t>(1, (bytes + kBlockBytes - 1) / kBlockBytes) * kBlockBytes;
  CheckSpace(directory, bytes);
  const NamelessFile file(directory);
  HostPool pool({.bytes = kThreads * kBlockBytes, .lock = false});
  std::array<std::byte*, kThreads> blocks{};
  for (std::byte*& block : blocks) {
    const auto piece = pool.Cut(kBlockBytes, "a block");
    block = piece.data();
    // No zeros: some disks and file systems do not store them.
    uint32_t state = 1;
    for (std::byte& value : piece) value = static_cast<std::byte>((state = state * 1664525u + 1013904223u) >> 24);
  }
  std::vector<double> writes, reads;
  for (int round = 0; round < kRounds; ++round) {
    if (between_rounds) between_rounds();
    const auto begin = std::chrono::steady_clock::now();
    ForAllBlocks(directory, blocks, bytes,
                 [&](std::byte* block, int64_t at) { return ::pwrite(file.get(), block, kBlockBytes, at); });
    if (::fdatasync(file.get()) != 0) Fail(directory, "a file cannot be written here", errno);
    writes.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
    if (!file.bypasses_cache()) ::posix_fadvise(file.get(), 0, 0, POSIX_FADV_DONTNEED);
    reads.push_back(ForAllBlocks(directory, blocks, bytes, [&](std::byte* block, int64_t at) {
      return ::pread(file.get(), block, kBlockBytes, at);
    }));
  }
  const double gigabytes = static_cast<double>(bytes) * 1e-9;
  return {.read_gbps = gigabytes / Median(reads), .write_gbps = gigabytes / Median(writes)};
}

bool CanBypassCache(const std::string& directory) { return NamelessFile(directory).bypasses_cache(); }

}  // namespace triforce
