// Counts, sizes and times as people read them.
#pragma once

#include <cstdint>
#include <string>

namespace triforce {

std::string CountText(int64_t count);     // "28,034"
std::string RateText(double per_second);  // "2,978", "41.3", "0.52"
std::string BytesText(int64_t bytes);     // "512 bytes", "10.1 MiB"
std::string SecondsText(double seconds);  // "0.8 s", "12 s", "3 min 05 s", "2 h 10 min"

}  // namespace triforce
