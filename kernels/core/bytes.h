// Sizes as people write them: "24G", "512M", "1.5 GiB". Suffixes are binary.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace triforce {

// The largest size that anybody may write, 1024T: more than any machine has, and small enough to be added up.
inline constexpr int64_t kMostSizeBytes = int64_t{1} << 50;

// "24G", "24GiB", "24GB", "1.5M", "4096": bytes; nothing where `text` is none of these, negative, or beyond
// kMostSizeBytes.
std::optional<int64_t> ParseBytes(std::string_view text);

// "1.50 GiB", "20.3 MiB", "512 B".
std::string FormatBytes(int64_t bytes);

}  // namespace triforce
