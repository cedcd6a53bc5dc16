#include "models/json_file.h"

#include <fmt/core.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <nlohmann/json.hpp>
#include <unordered_set>
#include <vector>

#include "kernels/core/error.h"
#include "models/foreign_file.h"
#include "models/regular_file.h"

namespace triforce {
namespace {

// A text whose values NaN, Infinity and -Infinity are strings.
struct QuotedText {
  std::string text;
  std::vector<size_t> quotes;  // where in `text` quotes were added, in order
};

// The length of the literal at the front of `text`, where it stands for a value and not for a key; else 0.
size_t NonFiniteLength(std::string_view text, char before) {
  if (before != ':' && before != ',' && before != '[' && before != '\0') return 0;
  for (const std::string_view literal : {"NaN", "Infinity", "-Infinity"}) {
    if (!text.starts_with(literal)) continue;
    const size_t next = text.find_first_not_of(" \t\r\n", literal.size());
    return next == std::string_view::npos || text[next] == ',' || text[next] == ']' || text[next] == '}'
               ? literal.size()
               : 0;
  }
  return 0;
}

// Python's json module writes these three words, for which JSON has no number. As strings they are no harm where nobody
// asks for them, and a getter that wants a number refuses them by name.
QuotedText QuoteNonFinite(std::string_view text) {
  QuotedText quoted;
  bool in_string = false;
  char before = '\0';  // the last character that is no white space
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    const size_t length = in_string ? 0 : NonFiniteLength(text.substr(i), before);
    if (length > 0) {
      quoted.quotes.push_back(quoted.text.size());
      quoted.quotes.push_back(quoted.text.size() + length + 1);
      quoted.text.append("\"").append(text.substr(i, length)).append("\"");
      i += length - 1;
      before = '"';
      continue;
    }
    quoted.text += c;
    if (in_string && c == '\\' && i + 1 < text.size()) quoted.text += text[++i];
    if (c == '"') in_string = !in_string;
    if (std::string_view(" \t\r\n").find(c) == std::string_view::npos) before = c;
  }
  return quoted;
}

// An iterator that leaves behind how far it came: nlohmann's parser does not tell its listener where in the text it is.
struct Reader {
  using iterator_category = std::input_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = const char&;

  const char* at;
  const char** reached;

  reference operator*() const { return *at; }
  Reader& operator++() {
    *reached = ++at;
    return *this;
  }
  Reader operator++(int) {
    const Reader before = *this;
    ++*this;
    return before;
  }
  bool operator==(const Reader& other) const { return at == other.at; }
};

// nlohmann's "[json.exception.parse_error.101] parse error at line 1, column 5: WHY" without what comes before WHY.
std::string Reason(const nlohmann::json::exception& error) {
  const std::string text = error.what();
  const size_t bracket = text.find("] ");
  const size_t colon = text.find(": ");
  if (text.find("parse error at line") != std::string::npos && colon != std::string::npos)
    return text.substr(colon + 2);
  return bracket == std::string::npos ? text : text.substr(bracket + 2);
}

// Reads a text without making anything of it, and refuses what nlohmann's parser would let pass: depth without end, and
// the same key twice. (The parser takes a callback for that, and then walks through all members of an object after each
// of them: a header of 200,000 tensors took minutes.)
class Strict final : public nlohmann::json_sax<nlohmann::json> {
 public:
  // `quotes`: where in `text` quotes were added, in order; no offset counts them.
  Strict(std::string_view text, const std::vector<size_t>& quotes, const std::string& where)
      : begin_(text.data()), end_(begin_ + text.size()), reached_(begin_), quotes_(quotes), where_(where) {}

  // Throws Error (kInvalidInput) where the text is refused.
  void Read() { nlohmann::json::sax_parse(Reader{begin_, &reached_}, Reader{end_, &reached_}, this); }

  bool null() override { return SeeDepth(); }
  bool boolean(bool) override { return SeeDepth(); }
  bool number_integer(int64_t) override { return SeeDepth(); }
  bool number_unsigned(uint64_t) override { return SeeDepth(); }
  bool number_float(double, const std::string&) override { return SeeDepth(); }
  bool string(std::string&) override { return SeeDepth(); }
  bool binary(binary_t&) override { return SeeDepth(); }
  bool start_array(size_t) override { return Open(); }
  bool end_array() override { return Close(); }
  bool start_object(size_t) override { return Open(); }
  bool end_object() override { return Close(); }
  bool key(std::string& key) override {
    if (!open_.back().insert(key).second) {
      Fail(fmt::format("the key {} stands a second time in one object, expected once", Shown(key)));
    }
    return SeeDepth();
  }
  bool parse_error(size_t, const std::string&, const nlohmann::json::exception& error) override {
    throw Error(ErrorKind::kInvalidInput, fmt::format("{}: byte {}", where_, Offset()),
                fmt::format("found no JSON: {}", Reason(error)));
  }

 private:
  // How far the parser came.
  int64_t Offset() const {
    const int64_t offset = reached_ - begin_;
    return offset - (std::lower_bound(quotes_.begin(), quotes_.end(), static_cast<size_t>(offset)) - quotes_.begin());
  }
  bool SeeDepth() const {
    if (open_.size() > kMaxJsonDepth) Fail(fmt::format("nested more than {} deep, expected less", kMaxJsonDepth));
    return true;
  }
  bool Open() {
    SeeDepth();
    open_.emplace_back();
    return true;
  }
  bool Close() {
    open_.pop_back();
    return true;
  }
  [[noreturn]] void Fail(const std::string& what) const {
    throw Error(ErrorKind::kInvalidInput, fmt::format("{}: before byte {}", where_, Offset()), what);
  }

  const char* const begin_;
  const char* const end_;
  const char* reached_;
  const std::vector<size_t>& quotes_;
  const std::string& where_;
  std::vector<std::unordered_set<std::string>> open_;  // the keys so far of each object around; an array has none
};

nlohmann::json Parse(std::string_view text, const std::vector<size_t>& quotes, const std::string& where) {
  Strict(text, quotes, where).Read();
  return nlohmann::json::parse(text);
}

}  // namespace

std::string Shown(const nlohmann::json& value) {
  const std::string text = value.dump(-1, ' ', true, nlohmann::json::error_handler_t::replace);
  return text.size() <= 60 ? text : text.substr(0, 57) + "...";
}

std::string ReadFile(const std::string& path, int64_t max_bytes) {
  std::error_code status;
  if (std::filesystem::is_directory(path, status)) throw Error(ErrorKind::kIo, path, "is a directory, expected a file");
  errno = 0;
  std::ifstream file(path, std::ios::binary);
  if (!file) throw Error(ErrorKind::kIo, path, fmt::format("cannot be opened: {}", std::strerror(errno)));
  std::string text;
  char block[1 << 16];
  while (file.read(block, sizeof(block)) || file.gcount() > 0) {
    text.append(block, file.gcount());
    if (static_cast<int64_t>(text.size()) > max_bytes) {
      throw Error(ErrorKind::kInvalidInput, path,
                  fmt::format("is larger than {} bytes, the most that is read", max_bytes));
    }
  }
  if (file.bad()) throw Error(ErrorKind::kIo, path, fmt::format("cannot be read: {}", std::strerror(errno)));
  return text;
}

nlohmann::json ParseJson(std::string_view text, const std::string& where) { return Parse(text, {}, where); }

JsonObject JsonObject::FromFile(const std::string& path) {
  const std::string text = ReadRegularFile(path, kMaxJsonFileBytes);
  RefuseForeignFile(path, text);
  const QuotedText quoted = QuoteNonFinite(text);
  return JsonObject(Parse(quoted.text, quoted.quotes, path), path);
}

JsonObject JsonObject::FromText(std::string_view text, const std::string& where) {
  return JsonObject(ParseJson(text, where), where);
}

JsonObject::JsonObject(nlohmann::json json, const std::string& where)
    : where_(where), json_(std::make_shared<const nlohmann::json>(std::move(json))) {
  if (!json_->is_object()) {
    throw Error(ErrorKind::kInvalidInput, where, fmt::format("found {}, expected a JSON object", Shown(*json_)));
  }
}

bool JsonObject::Has(const std::string& key) const {
  const auto it = json_->find(key);
  return it != json_->end() && !it->is_null();
}

int64_t JsonObject::Int(const std::string& key, int64_t min, int64_t max, std::optional<int64_t> fallback) const {
  if (!Has(key) && fallback) return *fallback;
  const std::string expected = fmt::format("an integer from {} to {}", min, max);
  if (!Has(key) || !json_->at(key).is_number_integer()) Fail(key, expected);
  const nlohmann::json& value = json_->at(key);
  if (value.is_number_unsigned() && value.get<uint64_t>() > INT64_MAX) Fail(key, expected);
  if (value.get<int64_t>() < min || value.get<int64_t>() > max) Fail(key, expected);
  return value.get<int64_t>();
}

double JsonObject::Number(const std::string& key, double min, double max, std::optional<double> fallback) const {
  if (!Has(key) && fallback) return *fallback;
  const std::string expected = fmt::format("a number from {} to {}", min, max);
  if (!Has(key) || !json_->at(key).is_number()) Fail(key, expected);
  const double value = json_->at(key).get<double>();
  if (!(value >= min && value <= max)) Fail(key, expected);
  return value;
}

bool JsonObject::Bool(const std::string& key, std::optional<bool> fallback) const {
  if (!Has(key) && fallback) return *fallback;
  if (!Has(key) || !json_->at(key).is_boolean()) Fail(key, "true or false");
  return json_->at(key).get<bool>();
}

std::string JsonObject::String(const std::string& key, std::optional<std::string> fallback) const {
  if (!Has(key) && fallback) return *fallback;
  if (!Has(key) || !json_->at(key).is_string()) Fail(key, "a string");
  return json_->at(key).get<std::string>();
}

JsonObject JsonObject::Object(const std::string& key) const {
  if (!Has(key) || !json_->at(key).is_object()) Fail(key, "an object");
  return JsonObject(where_ + ": " + key, std::shared_ptr<const nlohmann::json>(json_, &json_->at(key)));
}

void JsonObject::Fail(const std::string& key, const std::string& expected) const {
  throw Error(ErrorKind::kInvalidInput, where_ + ": " + key,
              fmt::format("found {}, expected {}", json_->contains(key) ? Shown(json_->at(key)) : "nothing", expected));
}

}  // namespace triforce
