#include "models/tokenizer.h"

#include <fmt/core.h>
#include <sentencepiece_processor.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "kernels/core/error.h"
#include "models/json_file.h"

namespace triforce {
namespace fs = std::filesystem;

struct Tokenizer::Impl {
  sentencepiece::SentencePieceProcessor processor;
};

namespace {

constexpr std::string_view kSpace = "\xe2\x96\x81";  // U+2581, sentencepiece's space

using sentencepiece::SentencePieceProcessor;

// The id that `key` ("bos_token") names, as a string or as an object with the string for "content": a piece, or a token
// that tokenizer_config.json adds to them.
std::optional<TokenId> SpecialToken(const JsonObject& rules, const std::string& key,
                                    const SentencePieceProcessor& processor) {
  if (!rules.Has(key)) return std::nullopt;
  const bool object = rules.json().at(key).is_object();
  const std::string text = object ? rules.Object(key).String("content") : rules.String(key);
  const int id = processor.PieceToId(text);
  if (processor.IdToPiece(id) == text) return TokenId{id};
  if (rules.Has("added_tokens_decoder")) {
    const JsonObject added = rules.Object("added_tokens_decoder");
    for (const auto& [number, token] : added.json().items()) {
      int32_t value = 0;
      const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), value);
      const bool is_number = error == std::errc() && end == number.data() + number.size() && value >= 0;
      if (is_number && token.is_object() && token.value("content", nlohmann::json()) == text) return TokenId{value};
    }
  }
  rules.Fail(key, "a piece of tokenizer.model or one of added_tokens_decoder");
}

// A token that is put around every text has to exist, and to be the one that the model was made with.
void CheckAdded(const char* name, bool added, std::optional<TokenId> id, const std::vector<TokenId>& of_model,
                const std::string& path) {
  if (!added) return;
  if (!id) throw Error(ErrorKind::kInvalidInput, path, fmt::format("found no {} token, expected one to add", name));
  if (of_model.empty() || std::find(of_model.begin(), of_model.end(), *id) != of_model.end()) return;
  throw Error(ErrorKind::kInvalidInput, path,
              fmt::format("found {} token {}, expected {}, config.json's {}_token_id", name, ToInt(*id),
                          ToInt(of_model.front()), name));
}

// What the processor does with spaces at the front, seen from outside: its specification is not part of its interface.
Tokenizer::LeadingSpaces ProbeLeadingSpaces(const SentencePieceProcessor& processor) {
  using LeadingSpaces = Tokenizer::LeadingSpaces;
  const std::string space(kSpace);
  const int alone = processor.PieceToId(space);
  if (processor.IdToPiece(alone) == space) {
    const size_t left = processor.DecodeIds({alone, alone}).size();
    return left == 2 ? LeadingSpaces::kKeep : left == 1 ? LeadingSpaces::kDropFirst : LeadingSpaces::kDropAll;
  }
  for (int id = 0; id < processor.GetPieceSize(); ++id) {
    const bool text = !processor.IsControl(id) && !processor.IsUnknown(id) && !processor.IsByte(id);
    if (!text || !processor.IdToPiece(id).starts_with(space)) continue;
    return processor.DecodeIds({id}).starts_with(' ') ? LeadingSpaces::kKeep : LeadingSpaces::kDropFirst;
  }
  return LeadingSpaces::kKeep;
}

}  // namespace

bool Tokenizer::Exists(const std::string& directory) {
  std::error_code status;
  return fs::exists(fs::path(directory) / "tokenizer.model", status);
}

Tokenizer::Tokenizer(const std::string& directory, const ModelConfig& config) : impl_(std::make_unique<Impl>()) {
  const std::string path = (fs::path(directory) / "tokenizer.model").string();
  std::error_code status;
  if (!Exists(directory)) {
    if (fs::exists(fs::path(directory) / "tokenizer.json", status)) {
      throw Error(ErrorKind::kUnsupported, directory, "holds tokenizer.json, expected a sentencepiece tokenizer.model",
                  "Prompts can be given as token ids with --ids.");
    }
    throw Error(ErrorKind::kIo, path, "does not exist", "Prompts can be given as token ids with --ids.");
  }
  auto& processor = impl_->processor;
  const auto loaded = processor.LoadFromSerializedProto(ReadFile(path));
  if (!loaded.ok()) {
    throw Error(ErrorKind::kInvalidInput, path, fmt::format("found no sentencepiece model: {}", loaded.ToString()));
  }
  if (pieces() > config.vocab) {
    throw Error(ErrorKind::kInvalidInput, path,
                fmt::format("found {} pieces, expected at most {}, config.json's vocab_size", pieces(), config.vocab));
  }
  leading_spaces_ = ProbeLeadingSpaces(processor);
  if (processor.bos_id() >= 0) bos_ = TokenId{processor.bos_id()};
  if (processor.eos_id() >= 0) eos_ = TokenId{processor.eos_id()};
  const fs::path rules_path = fs::path(directory) / "tokenizer_config.json";
  if (fs::exists(rules_path, status)) ReadRules(JsonObject::FromFile(rules_path.string()));
  CheckAdded("bos", add_bos_, bos_, config.bos ? std::vector{*config.bos} : std::vector<TokenId>(), path);
  CheckAdded("eos", add_eos_, eos_, config.eos, path);
}

void Tokenizer::ReadRules(const JsonObject& rules) {
  add_bos_ = rules.Bool("add_bos_token", true);
  add_eos_ = rules.Bool("add_eos_token", false);
  if (!rules.Bool("add_prefix_space", true)) {
    throw Error(ErrorKind::kUnsupported, rules.where() + ": add_prefix_space", "found false, expected true");
  }
  if (const auto bos = SpecialToken(rules, "bos_token", impl_->processor)) bos_ = bos;
  if (const auto eos = SpecialToken(rules, "eos_token", impl_->processor)) eos_ = eos;
}

Tokenizer::~Tokenizer() = default;

int64_t Tokenizer::pieces() const { return impl_->processor.GetPieceSize(); }

std::vector<TokenId> Tokenizer::EncodeText(std::string_view text, const std::string& source) const {
  if (const auto offset = FindInvalidUtf8(text)) {
    throw Error(
        ErrorKind::kInvalidInput, source,
        fmt::format("is not valid UTF-8 at byte {} (0x{:02x})", *offset, static_cast<unsigned char>(text[*offset])));
  }
  std::vector<int> ids;
  const auto status = impl_->processor.Encode({text.data(), text.size()}, &ids);
  if (!status.ok()) throw Error(ErrorKind::kInvalidInput, source, status.ToString());
  std::vector<TokenId> tokens;
  tokens.reserve(ids.size());
  for (int id : ids) tokens.push_back(TokenId{id});
  return tokens;
}

std::vector<TokenId> Tokenizer::Encode(std::string_view text, const std::string& source) const {
  std::vector<TokenId> tokens = EncodeText(text, source);
  if (add_bos_) tokens.insert(tokens.begin(), *bos_);
  if (add_eos_) tokens.push_back(*eos_);
  return tokens;
}

std::string Tokenizer::Decode(const std::vector<TokenId>& tokens) const {
  std::vector<int> ids;
  for (TokenId token : tokens) {
    if (ToInt(token) >= 0 && ToInt(token) < pieces()) ids.push_back(ToInt(token));
  }
  std::string text;
  impl_->processor.Decode(ids, &text).IgnoreError();
  return text;
}

Tokenizer::Piece Tokenizer::PieceOf(TokenId token) const {
  using Kind = Piece::Kind;
  const int id = ToInt(token);
  const auto& processor = impl_->processor;
  if (id < 0 || id >= pieces()) return {};
  if (processor.IsControl(id)) return {.kind = Kind::kControl};
  const std::string& piece = processor.IdToPiece(id);
  if (processor.IsByte(id)) {  // "<0xE2>"
    return {Kind::kByte, std::string(1, static_cast<char>(std::stoi(piece.substr(3, 2), nullptr, 16)))};
  }
  if (processor.IsUnknown(id)) return {Kind::kText, processor.DecodeIds({id})};
  Piece result{Kind::kText, "", piece.starts_with(kSpace)};
  for (size_t i = 0; i < piece.size();) {
    const bool space = std::string_view(piece).substr(i).starts_with(kSpace);
    result.text += space ? ' ' : piece[i];
    i += space ? kSpace.size() : 1;
  }
  return result;
}

int Utf8CharacterLength(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  if (text.empty()) return -1;
  const unsigned char first = byte(0);
  if (first < 0x80) return 1;
  const int length = first >= 0xc2 && first <= 0xdf   ? 2
                     : (first & 0xf0) == 0xe0         ? 3
                     : first >= 0xf0 && first <= 0xf4 ? 4
                                                      : 0;
  if (length == 0) return 0;
  // The second byte's range excludes overlong forms, surrogates and what lies beyond U+10FFFF.
  const unsigned char low = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;
  const unsigned char high = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
  for (int i = 1; i < length; ++i) {
    if (i >= static_cast<int>(text.size())) return -1;
    if (byte(i) < (i == 1 ? low : 0x80) || byte(i) > (i == 1 ? high : 0xbf)) return 0;
  }
  return length;
}

std::optional<size_t> FindInvalidUtf8(std::string_view text) {
  for (size_t i = 0; i < text.size();) {
    const int length = Utf8CharacterLength(text.substr(i));
    if (length <= 0) return i;
    i += length;
  }
  return std::nullopt;
}

}  // namespace triforce
