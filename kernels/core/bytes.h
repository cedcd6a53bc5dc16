// Sizes as people write them: "24G", "512M", "1.5 GiB". Suffixes are binary.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace triforce {

// "24G", "24GiB", "24GB", "1.5M", "4096": bytes; nothing where `text` is none of these, negative, or beyond 2^62.
std::optional<int64_t> ParseBytes(std::string_view text);

// "1.50 GiB", "20.3 MiB", "512 B".
std::string FormatBytes(int64_t bytes);

}  // namespace triforce
