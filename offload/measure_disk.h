// Measuring a disk: how fast large blocks are written and read, past the system's cache where the file system allows.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

namespace triforce {

struct DiskRates {
  double read_gbps = 0;
  double write_gbps = 0;  // until it is on the disk
};

// Writes and reads back a file of about `bytes` in `directory`, in blocks of 1 MiB with several threads, three times;
// medians. The file has no name from the moment it is open: nothing stays, however the program ends. `between_rounds`
// may be empty; it may throw to stop.
// Throws Error: kIo; kOutOfMemory, with bytes needed and available, where the disk has not that much.
DiskRates MeasureDisk(const std::string& directory, int64_t bytes, const std::function<void()>& between_rounds);

// Whether a file in `directory` can be read and written past the system's cache (O_DIRECT). Throws Error (kIo) where no
// file can be made there.
bool CanBypassCache(const std::string& directory);

}  // namespace triforce
