// JSON from files that may be wrong or hostile: limits on size and depth, no duplicate keys, and errors that name file,
// field, what was found and what was expected.
#pragma once

#include <cstdint>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>

namespace triforce {

inline constexpr int kMaxJsonDepth = 64;
inline constexpr int64_t kMaxJsonFileBytes = int64_t{64} << 20;

// The whole of a file or of a pipe, as bytes. Throws Error (kIo; kInvalidInput beyond `max_bytes`).
std::string ReadFile(const std::string& path, int64_t max_bytes = kMaxJsonFileBytes);

// Parses `text`; `where` (a path) stands in errors. Throws Error (kInvalidInput) with the byte offset.
nlohmann::json ParseJson(std::string_view text, const std::string& where);

// At most so much of a value as a message has room for.
std::string Shown(const nlohmann::json& value);

// One JSON object, with getters that check. A field that is null counts as absent. Copied freely; shares the document.
class JsonObject {
 public:
  // The object that `path`, a regular file of a model directory, holds. Throws Error where it holds anything else.
  // NaN, Infinity and -Infinity, which Python writes, are read as the strings "NaN" and so on.
  static JsonObject FromFile(const std::string& path);
  // The object that `text` is; `where` stands in errors.
  static JsonObject FromText(std::string_view text, const std::string& where);

  const std::string& where() const { return where_; }
  const nlohmann::json& json() const { return *json_; }

  bool Has(const std::string& key) const;
  // With a fallback: its value where the field is absent. Without: Error where it is. All throw Error (kInvalidInput)
  // where the field has another type or lies outside [min, max].
  int64_t Int(const std::string& key, int64_t min, int64_t max, std::optional<int64_t> fallback = {}) const;
  double Number(const std::string& key, double min, double max, std::optional<double> fallback = {}) const;
  bool Bool(const std::string& key, std::optional<bool> fallback = {}) const;
  std::string String(const std::string& key, std::optional<std::string> fallback = {}) const;
  JsonObject Object(const std::string& key) const;

  // Throws the Error (kInvalidInput) "WHERE: KEY: found FOUND, expected EXPECTED", with the field's value as FOUND.
  [[noreturn]] void Fail(const std::string& key, const std::string& expected) const;

 private:
  JsonObject(nlohmann::json json, const std::string& where);
  JsonObject(std::string where, std::shared_ptr<const nlohmann::json> json)
      : where_(std::move(where)), json_(std::move(json)) {}

  std::string where_;
  std::shared_ptr<const nlohmann::json> json_;  // shared: an inner object keeps its document alive
};

}  // namespace triforce
