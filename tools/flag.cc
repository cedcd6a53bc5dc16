#include "tools/flag.h"

#include <fmt/core.h>
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <limits>
#include <optional>
#include <set>

#include "kernels/core/error.h"

namespace triforce {
namespace {

// All of `text` as a number.
template <typename T>
std::optional<T> Parse(std::string_view text) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::optional<int64_t> ParseByteSize(std::string_view text) {
  if (text == "auto") return 0;
  if (text.empty()) return std::nullopt;
  static constexpr std::string_view kSuffixes = "KMGT";
  const size_t suffix = kSuffixes.find(text.back());
  int shift = 0;
  if (suffix != std::string_view::npos) {
    shift = static_cast<int>(10 * (suffix + 1));
    text.remove_suffix(1);
  }
  const std::optional<int64_t> value = Parse<int64_t>(text);
  if (!value || *value < 1 || *value > (std::numeric_limits<int64_t>::max() >> shift)) return std::nullopt;
  return *value << shift;
}

std::string RangeText(const std::string& kind, const std::string& min, const std::string& max, bool unbounded) {
  return unbounded ? fmt::format("{} from {} on", kind, min) : fmt::format("{} from {} to {}", kind, min, max);
}

void AssignOne(const Flag& flag, const GivenValue& given) {
  const size_t first = flag.value.repeatable ? 0 : given.texts.size() - 1;
  for (size_t i = first; i < given.texts.size(); ++i) {
    if (!flag.value.assign(given.texts[i])) {
      throw Error(ErrorKind::kUsage, given.where,
                  fmt::format("found \"{}\", expected {}", given.texts[i], flag.value.expected));
    }
  }
}

}  // namespace

FlagValue Switch(std::function<void(bool)> set) {
  return {.placeholder = "", .expected = "true or false", .assign = [set = std::move(set)](const std::string& text) {
            const bool yes = text == "true" || text == "1" || text == "yes" || text == "on";
            const bool no = text == "false" || text == "0" || text == "no" || text == "off";
            if (yes || no) set(yes);
            return yes || no;
          }};
}

FlagValue Text(const std::string& placeholder, std::function<void(std::string)> set) {
  return {.placeholder = placeholder, .expected = "a text", .assign = [set = std::move(set)](const std::string& text) {
            set(text);
            return true;
          }};
}

FlagValue RepeatableText(const std::string& placeholder, std::vector<std::string>& target) {
  FlagValue value = Text(placeholder, [&target](std::string text) { target.push_back(std::move(text)); });
  value.repeatable = true;
  return value;
}

FlagValue Integer(int64_t min, int64_t max, std::function<void(int64_t)> set) {
  const bool unbounded = max == std::numeric_limits<int64_t>::max();
  return {.placeholder = "N",
          .expected = RangeText("a whole number", std::to_string(min), std::to_string(max), unbounded),
          .assign = [=, set = std::move(set)](const std::string& text) {
            const std::optional<int64_t> value = Parse<int64_t>(text);
            if (!value || *value < min || *value > max) return false;
            set(*value);
            return true;
          }};
}

FlagValue Number(double min, double max, std::function<void(double)> set) {
  static constexpr double kMost = std::numeric_limits<double>::max();
  return {.placeholder = "X",
          .expected = min == -kMost ? "a number"
                                    : RangeText("a number", fmt::to_string(min), fmt::to_string(max), max == kMost),
          .assign = [=, set = std::move(set)](const std::string& text) {
            const std::optional<double> value = Parse<double>(text);
            if (!value || !(*value >= min && *value <= max)) return false;
            set(*value);
            return true;
          }};
}

FlagValue ByteSize(std::function<void(int64_t)> set) {
  return {.placeholder = "BYTES",
          .expected = "a number of bytes such as 512M or 24G, or auto",
          .assign = [set = std::move(set)](const std::string& text) {
            const std::optional<int64_t> bytes = ParseByteSize(text);
            if (bytes) set(*bytes);
            return bytes.has_value();
          }};
}

FlagValue OneOf(const std::vector<std::string>& choices, std::function<void(std::string)> set) {
  return {.placeholder = fmt::format("{}", fmt::join(choices, "|")),
          .expected = fmt::format("one of {}", fmt::join(choices, ", ")),
          .assign = [choices, set = std::move(set)](const std::string& text) {
            if (std::find(choices.begin(), choices.end(), text) == choices.end()) return false;
            set(text);
            return true;
          }};
}

std::string EnvironmentName(const std::string& flag_name) {
  std::string name = "TRIFORCE_";
  for (char c : flag_name) name += c == '-' ? '_' : static_cast<char>(c >= 'a' && c <= 'z' ? c - 'a' + 'A' : c);
  return name;
}

GivenValues ReadEnvironment(std::span<const Flag> flags) {
  GivenValues given;
  for (const Flag& flag : flags) {
    const std::string name = EnvironmentName(flag.name);
    const char* const text = std::getenv(name.c_str());
    if (text != nullptr && *text != '\0') given[flag.name] = {{text}, name};
  }
  return given;
}

void AssignFlags(std::span<const Flag> flags, std::span<const GivenValues> places) {
  std::set<std::string> decided;  // in a stronger place: flags, and groups of those that exclude each other
  for (const GivenValues& place : places) {
    std::map<std::string, std::string> here;  // the same in this place, and where
    for (const Flag& flag : flags) {
      const auto given = place.find(flag.name);
      const std::string& key = flag.one_of.empty() ? flag.name : flag.one_of;
      if (given == place.end() || decided.contains(key)) continue;
      const auto [other, first] = here.emplace(key, given->second.where);
      if (!first) {
        throw Error(ErrorKind::kUsage, given->second.where, fmt::format("cannot stand beside {}", other->second));
      }
      AssignOne(flag, given->second);
    }
    for (const auto& [key, where] : here) decided.insert(key);
  }
}

}  // namespace triforce
