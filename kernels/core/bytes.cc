#include "kernels/core/bytes.h"

#include <fmt/core.h>

#include <algorithm>
#include <cctype>
#include <charconv>

namespace triforce {
namespace {

constexpr std::string_view kSuffixes = "kmgt";

}  // namespace

std::optional<int64_t> ParseBytes(std::string_view text) {
  double number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || !(number >= 0)) return std::nullopt;
  std::string suffix(end, text.data() + text.size());
  std::erase(suffix, ' ');
  std::transform(suffix.begin(), suffix.end(), suffix.begin(), [](unsigned char c) { return std::tolower(c); });
  if (suffix == "b") suffix.clear();
  if (!suffix.empty()) {
    const size_t power = kSuffixes.find(suffix[0]);
    if (power == std::string_view::npos || (suffix.size() > 1 && suffix.substr(1) != "b" && suffix.substr(1) != "ib")) {
      return std::nullopt;
    }
    for (size_t i = 0; i <= power; ++i) number *= 1024;
  }
  if (number > static_cast<double>(kMostSizeBytes)) return std::nullopt;
  return static_cast<int64_t>(number);
}

std::string FormatBytes(int64_t bytes) {
  if (bytes < 1024) return fmt::format("{} B", bytes);
  double number = static_cast<double>(bytes);
  size_t power = 0;
  for (number /= 1024; number >= 1024 && power + 1 < kSuffixes.size(); ++power) number /= 1024;
  const int decimals = number < 10 ? 2 : number < 100 ? 1 : 0;
  return fmt::format("{:.{}f} {}iB", number, decimals, static_cast<char>(std::toupper(kSuffixes[power])));
}

}  // namespace triforce
