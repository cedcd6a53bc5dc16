#include "tools/number_flags.h"

#include <fmt/core.h>

#include <charconv>
#include <cmath>
#include <cstdlib>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>

namespace triforce {
namespace {

// All of `text` as a number in decimal digits; nothing where it is none, or does not fit.
template <typename T>
std::optional<T> ParseWhole(std::string_view text) {
  T value = 0;
  const char* const end = text.data() + text.size();
  const auto [parsed, error] = std::from_chars(text.data(), end, value);
  return error == std::errc() && parsed == end ? std::optional<T>(value) : std::nullopt;
}

std::string_view Trimmed(std::string_view text) {
  const size_t begin = text.find_first_not_of(' ');
  if (begin == std::string_view::npos) return "";
  return text.substr(begin, text.find_last_not_of(' ') - begin + 1);
}

std::string NotExpected(const std::string& text, const std::string& expected) {
  return fmt::format("found \"{}\", expected {}", text, expected);
}

// What a suffix stands for: 1 where there is none, 0 where it is unknown.
int64_t Multiplier(std::string_view suffix) {
  if (suffix.empty()) return 1;
  if (suffix == "k" || suffix == "K") return int64_t{1} << 10;
  return suffix == "m" || suffix == "M" ? int64_t{1} << 20 : 0;
}

CLI::Validator Whole(int64_t least, int64_t most, bool suffixes) {
  constexpr int64_t kMostShown = 1 << 20;  // in the help, where a limit beyond it tells nothing
  const std::string expected = fmt::format("a whole number from {} to {}{}", least, most,
                                           suffixes ? "; K and M stand for 1024 and 1048576, as in 32K" : "");
  return CLI::Validator(
      [=](std::string& text) -> std::string {
        const std::string_view trimmed = Trimmed(text);
        const std::string_view number = suffixes ? trimmed.substr(0, trimmed.find_last_of("0123456789") + 1) : trimmed;
        const int64_t multiplier = Multiplier(trimmed.substr(number.size()));
        const std::optional<int64_t> value = ParseWhole<int64_t>(number);
        int64_t product = 0;
        if (!value || multiplier == 0 || __builtin_mul_overflow(*value, multiplier, &product) || product < least ||
            product > most) {
          return NotExpected(text, expected);
        }
        text = std::to_string(product);
        return "";
      },
      most <= kMostShown ? fmt::format("{} to {}", least, most) : "");
}

}  // namespace

CLI::Validator WholeNumber(int64_t least, int64_t most) { return Whole(least, most, /*suffixes=*/false); }

CLI::Validator TokenCount(int64_t least, int64_t most) { return Whole(least, most, /*suffixes=*/true); }

CLI::Validator Number(double least, double most) {
  const std::string expected = std::isfinite(most)    ? fmt::format("a number from {} to {}", least, most)
                               : std::isfinite(least) ? fmt::format("a number, {} or more", least)
                                                      : std::string("a number");
  return CLI::Validator(
      [=](std::string& text) -> std::string {
        const std::string trimmed(Trimmed(text));
        // from_chars knows what a decimal number looks like, strtod what one too small for a double is: 0.
        double value = 0;
        const char* const end = trimmed.data() + trimmed.size();
        const auto [parsed, error] = std::from_chars(trimmed.data(), end, value);
        if (error == std::errc::result_out_of_range) value = std::strtod(trimmed.c_str(), nullptr);
        if (error == std::errc::invalid_argument || parsed != end || !std::isfinite(static_cast<float>(value)) ||
            value < least || value > most) {
          return NotExpected(text, expected);
        }
        text = trimmed;
        return "";
      },
      "");
}

CLI::Validator SeedNumber(uint64_t (*draw)()) {
  return CLI::Validator(
      [=](std::string& text) -> std::string {
        const std::string_view trimmed = Trimmed(text);
        const std::optional<uint64_t> value = trimmed == "-1" ? draw() : ParseWhole<uint64_t>(trimmed);
        if (!value) {
          return NotExpected(text, fmt::format("a whole number from 0 to {}, or -1 for another one in every run",
                                               std::numeric_limits<uint64_t>::max()));
        }
        text = std::to_string(*value);
        return "";
      },
      "");
}

}  // namespace triforce
