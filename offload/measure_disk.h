// Measuring a disk: how fast the disk tier writes and reads there, in requests as the ring makes them.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

namespace triforce {

struct DiskRates {
  double read_gbps = 0;
  double write_gbps = 0;
};

// Writes about `bytes` to a DiskTier in `directory` and reads them back for half a second or more, three times;
// medians. Long enough for what a drive's or a host's cache gives at first to wear off. Nothing stays, however the
// program ends. `between_rounds` may be empty; it may throw to stop.
// Throws Error: kIo; kOutOfMemory, with bytes needed and available, where the disk has not that much.
DiskRates MeasureDisk(const std::string& directory, int64_t bytes, const std::function<void()>& between_rounds);

// Whether a file in `directory` can be read and written past the system's cache (O_DIRECT). Throws Error (kIo) where no
// file can be made there.
bool CanBypassCache(const std::string& directory);

}  // namespace triforce
