#include "tools/bench_prompts.h"

#include <fmt/core.h>

#include <algorithm>
#include <charconv>
#include <filesystem>

#include "kernels/core/error.h"
#include "tools/input_text.h"

namespace triforce {
namespace {

struct Place {
  std::string path;
  int64_t first = 0;  // token
};

// Of "FILE@TOKEN"; all of it is the path where there is such a file, or no number.
Place PlaceOf(const std::string& argument) {
  std::error_code ignored;
  const size_t at_sign = argument.rfind('@');
  if (at_sign == std::string::npos || std::filesystem::exists(argument, ignored)) return {argument};
  int64_t token = 0;
  const char* const end = argument.data() + argument.size();
  const auto [parsed, error] = std::from_chars(argument.data() + at_sign + 1, end, token);
  if (error != std::errc() || parsed != end || token < 0) return {argument};
  return {argument.substr(0, at_sign), token};
}

}  // namespace

BenchText ReadBenchText(const std::string& argument, const Tokenizer& tokenizer, const std::stop_token& stop) {
  const Place place = PlaceOf(argument);
  BenchText text{.name = std::filesystem::path(argument).filename().string(), .tokens = {}};
  text.tokens = tokenizer.Encode(ReadInputText(place.path, stop), place.path);
  if (place.first >= std::max<int64_t>(1, text.tokens.size())) {
    throw Error(ErrorKind::kInvalidInput, argument,
                fmt::format("begins at token {}, the text has {}", place.first, text.tokens.size()));
  }
  if (place.first > 0) {
    const TokenId begin = text.tokens.front();  // BOS, or whatever a text begins with
    text.tokens.erase(text.tokens.begin(), text.tokens.begin() + place.first);
    text.tokens.front() = begin;
  }
  return text;
}

std::vector<TokenId> CutPrompt(const BenchText& text, int64_t tokens) {
  if (static_cast<int64_t>(text.tokens.size()) < tokens) {
    throw Error(ErrorKind::kInvalidInput, text.name,
                fmt::format("has {} tokens, expected {} of --contexts at least", text.tokens.size(), tokens),
                "Give a longer text, or shorter contexts.");
  }
  return {text.tokens.begin(), text.tokens.begin() + tokens};
}

}  // namespace triforce
