#include "offload/measure_disk.h"

#include <algorithm>
#include <chrono>
#include <deque>
#include <limits>
#include <span>
#include <vector>

#include "offload/disk_file.h"
#include "offload/disk_tier.h"
#include "offload/host_pool.h"

namespace triforce {
namespace {

constexpr int64_t kBlockBytes = int64_t{2} << 20;
constexpr int64_t kInFlight = 6;
constexpr int kRounds = 3;
constexpr double kReadSeconds = 0.5;

double SecondsSince(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

class Measurement {
 public:
  Measurement(const std::string& directory, int64_t bytes)
      : bytes_(std::max<int64_t>(1, (bytes + kBlockBytes - 1) / kBlockBytes) * kBlockBytes),
        tier_({.directory = directory, .capacity_bytes = std::numeric_limits<int64_t>::max() / 2}),
        offset_(tier_.Allocate(bytes_, "measuring the disk")),
        pool_({.bytes = kInFlight * kBlockBytes, .lock = false}),
        blocks_(pool_.Cut(kInFlight * kBlockBytes, "blocks")) {
    tier_.RegisterBuffers(blocks_);
    // No zeros: some disks and file systems do not store them.
    uint32_t state = 1;
    for (std::byte& value : blocks_) value = static_cast<std::byte>((state = state * 1664525u + 1013904223u) >> 24);
  }

  // GB/s of going through all bytes, over and over, for at least `seconds`.
  double Rate(bool write, double seconds) {
    const auto begin = std::chrono::steady_clock::now();
    int64_t moved = 0;
    do {
      std::deque<int64_t> tickets;
      for (int64_t at = 0; at < bytes_; at += kBlockBytes) {
        if (static_cast<int64_t>(tickets.size()) == kInFlight) FinishFirst(tickets);
        tickets.push_back(
            tier_.Start({.write = write,
                         .offset = offset_ + at,
                         .memory = blocks_.subspan(at / kBlockBytes % kInFlight * kBlockBytes, kBlockBytes)}));
      }
      while (!tickets.empty()) FinishFirst(tickets);
      moved += bytes_;
    } while (SecondsSince(begin) < seconds);
    return static_cast<double>(moved) * 1e-9 / SecondsSince(begin);
  }

 private:
  void FinishFirst(std::deque<int64_t>& tickets) {
    const int64_t ticket = tickets.front();
    tickets.pop_front();
    tier_.Finish(ticket);
  }

  const int64_t bytes_;
  DiskTier tier_;
  const int64_t offset_;
  HostPool pool_;
  const std::span<std::byte> blocks_;
};

}  // namespace

DiskRates MeasureDisk(const std::string& directory, int64_t bytes, const std::function<void()>& between_rounds) {
  Measurement measurement(directory, bytes);
  std::vector<double> reads, writes;
  for (int round = 0; round < kRounds; ++round) {
    if (between_rounds) between_rounds();
    writes.push_back(measurement.Rate(/*write=*/true, 0));
    reads.push_back(measurement.Rate(/*write=*/false, kReadSeconds));
  }
  return {.read_gbps = Median(reads), .write_gbps = Median(writes)};
}

bool CanBypassCache(const std::string& directory) { return DiskFile(directory, /*allow_direct=*/true).direct(); }

}  // namespace triforce
