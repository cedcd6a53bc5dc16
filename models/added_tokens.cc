#include "models/added_tokens.h"

#include <charconv>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "models/json_file.h"
#include "models/regular_file.h"

namespace triforce {
namespace {

std::optional<JsonObject> ReadIfThere(const std::string& directory, const char* name) {
  const std::string path = (std::filesystem::path(directory) / name).string();
  return FileExists(path) ? std::optional(JsonObject::FromFile(path)) : std::nullopt;
}

// A token's text: a string, or an object with the string for "content". Empty where it is neither.
std::string TextOf(const nlohmann::json& token) {
  const bool object = token.is_object() && token.contains("content");
  const nlohmann::json& text = object ? token.at("content") : token;
  return text.is_string() ? text.get<std::string>() : "";
}

// What a file names by a role: "bos_token", "additional_special_tokens". Such tokens are special, whatever else is
// said.
void AddNamedTokens(const JsonObject& file, std::set<std::string>& texts) {
  for (const char* key : {"bos_token", "eos_token", "unk_token", "pad_token", "sep_token", "cls_token", "mask_token"}) {
    if (file.Has(key)) texts.insert(TextOf(file.json().at(key)));
  }
  if (!file.Has("additional_special_tokens")) return;
  for (const nlohmann::json& token : file.json().at("additional_special_tokens")) texts.insert(TextOf(token));
}

void AddOfDecoder(const JsonObject& decoder, std::map<TokenId, AddedToken>& tokens) {
  for (const auto& [key, token] : decoder.json().items()) {
    int32_t id = -1;
    const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), id);
    if (error != std::errc() || end != key.data() + key.size() || id < 0) decoder.Fail(key, "an id as the key");
    const JsonObject fields = decoder.Object(key);
    tokens[TokenId{id}] = {fields.String("content"), fields.Bool("special", false)};
  }
}

void AddOfList(const JsonObject& list, std::map<TokenId, AddedToken>& tokens) {
  for (const auto& [text, id] : list.json().items()) {
    tokens[TokenId{static_cast<int32_t>(list.Int(text, 0, INT32_MAX))}] = {text};
  }
}

}  // namespace

std::map<TokenId, AddedToken> ReadAddedTokens(const std::string& directory) {
  const std::optional<JsonObject> rules = ReadIfThere(directory, "tokenizer_config.json");
  std::map<TokenId, AddedToken> tokens;
  if (rules && rules->Has("added_tokens_decoder")) {
    AddOfDecoder(rules->Object("added_tokens_decoder"), tokens);
  } else if (const std::optional<JsonObject> list = ReadIfThere(directory, "added_tokens.json")) {
    AddOfList(*list, tokens);
  }
  if (tokens.empty()) return tokens;
  std::set<std::string> special;
  if (rules) AddNamedTokens(*rules, special);
  if (const std::optional<JsonObject> map = ReadIfThere(directory, "special_tokens_map.json")) {
    AddNamedTokens(*map, special);
  }
  for (auto& [id, token] : tokens) token.special = token.special || special.contains(token.text);
  return tokens;
}

}  // namespace triforce
