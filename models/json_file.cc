#include "models/json_file.h"

#include <fmt/core.h>

#include <cerrno>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <set>
#include <vector>

#include "kernels/core/error.h"

namespace triforce {
namespace {

// At most so much of a value as a message has room for.
std::string Shown(const nlohmann::json& value) {
  const std::string text = value.dump(-1, ' ', true, nlohmann::json::error_handler_t::replace);
  return text.size() <= 60 ? text : text.substr(0, 57) + "...";
}

// An iterator that leaves behind how far it came: nlohmann's parser does not tell its callback where in the text it is.
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

// Refuses what nlohmann's parser would let pass: depth without end, and the same key twice.
class Strict {
 public:
  Strict(std::string_view text, const std::string& where) : begin_(text.data()), reached_(begin_), where_(where) {}

  const char** reached() { return &reached_; }

  void See(int depth, nlohmann::json::parse_event_t event, const nlohmann::json& parsed) {
    using Event = nlohmann::json::parse_event_t;
    if (depth > kMaxJsonDepth) Fail(fmt::format("nested more than {} deep, expected less", kMaxJsonDepth));
    if (event == Event::object_start) keys_.emplace_back();
    if (event == Event::object_end) keys_.pop_back();
    if (event == Event::key && !keys_.back().insert(parsed.get<std::string>()).second) {
      Fail(fmt::format("the key {} stands a second time in one object, expected once", Shown(parsed)));
    }
  }

 private:
  [[noreturn]] void Fail(const std::string& what) const {
    throw Error(ErrorKind::kInvalidInput, fmt::format("{}: before byte {}", where_, reached_ - begin_), what);
  }

  const char* const begin_;
  const char* reached_;
  const std::string& where_;
  std::vector<std::set<std::string>> keys_;
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

}  // namespace

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

nlohmann::json ParseJson(std::string_view text, const std::string& where) {
  // The parser copies its callback, so the state lies here.
  Strict strict(text, where);
  const auto see = [&](int depth, nlohmann::json::parse_event_t event, const nlohmann::json& parsed) {
    strict.See(depth, event, parsed);
    return true;
  };
  const Reader begin{text.data(), strict.reached()};
  const Reader end{text.data() + text.size(), strict.reached()};
  try {
    return nlohmann::json::parse(begin, end, see);
  } catch (const nlohmann::json::exception& error) {
    throw Error(ErrorKind::kInvalidInput, fmt::format("{}: byte {}", where, *strict.reached() - text.data()),
                fmt::format("found no JSON: {}", Reason(error)));
  }
}

JsonObject JsonObject::FromFile(const std::string& path) { return FromText(ReadFile(path), path); }

JsonObject JsonObject::FromText(std::string_view text, const std::string& where) {
  auto json = std::make_shared<nlohmann::json>(ParseJson(text, where));
  if (!json->is_object()) {
    throw Error(ErrorKind::kInvalidInput, where, fmt::format("found {}, expected a JSON object", Shown(*json)));
  }
  return JsonObject(where, std::move(json));
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
