#include "models/tokenizer.h"

#include <fmt/core.h>
#include <sentencepiece_processor.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>

#include "kernels/core/error.h"
#include "models/added_tokens.h"
#include "models/foreign_file.h"
#include "models/json_file.h"
#include "models/regular_file.h"

namespace triforce {
namespace fs = std::filesystem;

struct Tokenizer::Impl {
  sentencepiece::SentencePieceProcessor processor;
  std::map<TokenId, AddedToken> added;
};

namespace {

constexpr std::string_view kSpace = "\xe2\x96\x81";  // U+2581, sentencepiece's space

using sentencepiece::SentencePieceProcessor;

// The id that `key` ("bos_token") names, as a string or as an object with the string for "content": a piece, or a token
// that is added to them.
std::optional<TokenId> SpecialToken(const JsonObject& rules, const std::string& key,
                                    const SentencePieceProcessor& processor,
                                    const std::map<TokenId, AddedToken>& added) {
  if (!rules.Has(key)) return std::nullopt;
  const bool object = rules.json().at(key).is_object();
  const std::string text = object ? rules.Object(key).String("content") : rules.String(key);
  const int id = processor.PieceToId(text);
  if (processor.IdToPiece(id) == text) return TokenId{id};
  for (const auto& [added_id, token] : added) {
    if (token.text == text) return added_id;
  }
  rules.Fail(key, "a piece of tokenizer.model or one of added_tokens_decoder");
}

// Throws where a token that is put around every text is none of the model's.
void CheckAdded(const char* name, std::optional<TokenId> id, int64_t vocab, const std::string& path) {
  if (!id) throw Error(ErrorKind::kInvalidInput, path, fmt::format("found no {} token, expected one to add", name));
  if (ToInt(*id) < vocab) return;
  throw Error(ErrorKind::kInvalidInput, path,
              fmt::format("found {} token {}, expected one of config.json's vocab_size, {}", name, ToInt(*id), vocab));
}

// Throws where `bytes` are known to be something else.
void RefuseOtherTokenizer(const std::string& path, const std::string& bytes) {
  constexpr const char* kIds = "Prompts can be given as token ids with --ids.";
  RefuseForeignFile(path, bytes);
  if (IsTiktoken(bytes)) {
    throw Error(ErrorKind::kUnsupported, path, "is a tiktoken vocabulary, as Llama 3's is, expected sentencepiece's",
                kIds);
  }
  if (bytes.starts_with('{')) {
    throw Error(ErrorKind::kUnsupported, path, "is JSON, as tokenizer.json is, expected a sentencepiece model", kIds);
  }
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
  return FileExists((fs::path(directory) / "tokenizer.model").string());
}

Tokenizer::Tokenizer(const std::string& directory, const ModelConfig& config) : impl_(std::make_unique<Impl>()) {
  const std::string path = (fs::path(directory) / "tokenizer.model").string();
  if (!Exists(directory)) {
    if (FileExists((fs::path(directory) / "tokenizer.json").string())) {
      throw Error(ErrorKind::kUnsupported, directory, "holds tokenizer.json, expected a sentencepiece tokenizer.model",
                  "Prompts can be given as token ids with --ids.");
    }
    throw Error(ErrorKind::kIo, path, "does not exist", "Prompts can be given as token ids with --ids.");
  }
  auto& processor = impl_->processor;
  const std::string bytes = ReadRegularFile(path, kMaxJsonFileBytes);
  RefuseOtherTokenizer(path, bytes);
  const auto loaded = processor.LoadFromSerializedProto(bytes);
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
  impl_->added = ReadAddedTokens(directory);
  const std::string rules_path = (fs::path(directory) / "tokenizer_config.json").string();
  if (FileExists(rules_path)) ReadRules(JsonObject::FromFile(rules_path));
  if (add_bos_) CheckAdded("bos", bos_, config.vocab, path);
  if (add_eos_) CheckAdded("eos", eos_, config.vocab, path);
  if (add_bos_ && config.bos) NoteDifference(path, "bos", *bos_, {*config.bos});
  if (add_eos_) NoteDifference(path, "eos", *eos_, config.eos);
}

// As in transformers, the tokenizer says what is put around a text, and config.json's ids are not looked at for it.
void Tokenizer::NoteDifference(const std::string& path, const char* name, TokenId id,
                               const std::vector<TokenId>& of_model) {
  if (of_model.empty() || std::find(of_model.begin(), of_model.end(), id) != of_model.end()) return;
  notes_.push_back(fmt::format("{}: {} is token {}, and in config.json {}: the tokenizer's is put around texts", path,
                               name, ToInt(id), ToInt(of_model.front())));
}

void Tokenizer::ReadRules(const JsonObject& rules) {
  add_bos_ = rules.Bool("add_bos_token", true);
  add_eos_ = rules.Bool("add_eos_token", false);
  if (!rules.Bool("add_prefix_space", true)) {
    throw Error(ErrorKind::kUnsupported, rules.where() + ": add_prefix_space", "found false, expected true");
  }
  if (const auto bos = SpecialToken(rules, "bos_token", impl_->processor, impl_->added)) bos_ = bos;
  if (const auto eos = SpecialToken(rules, "eos_token", impl_->processor, impl_->added)) eos_ = eos;
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
  if (id < 0) return {};
  if (id >= pieces()) {
    const auto added = impl_->added.find(token);
    if (added == impl_->added.end()) return {};
    return added->second.special ? Piece{.kind = Kind::kControl} : Piece{Kind::kText, added->second.text};
  }
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
