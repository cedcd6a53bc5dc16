// What the operating system says of this machine's memory.
#pragma once

#include <cstdint>

namespace triforce {

// Bytes that new allocations can have without swapping: MemAvailable, or what is left of a control group's limit
// (version 2 and 1) where that is less. 0 where the system does not say.
int64_t AvailableMemoryBytes();

// The largest resident set of this process so far. 0 where the system does not say.
int64_t PeakResidentBytes();

}  // namespace triforce
