#include "models/tokenizer.h"

#include <fmt/core.h>
#include <sentencepiece_processor.h>

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

// "bos_token" may be a string or an object with the string as "content".
std::optional<std::string> SpecialToken(const JsonObject& config, const std::string& key) {
  if (!config.Has(key)) return std::nullopt;
  if (config.json().at(key).is_object()) return config.Object(key).String("content");
  return config.String(key);
}

}  // namespace

bool Tokenizer::Exists(const std::string& directory) { return fs::exists(fs::path(directory) / "tokenizer.model"); }

Tokenizer::Tokenizer(const std::string& directory, const ModelConfig& config) : impl_(std::make_unique<Impl>()) {
  const std::string path = (fs::path(directory) / "tokenizer.model").string();
  if (!Exists(directory)) {
    if (fs::exists(fs::path(directory) / "tokenizer.json")) {
      throw Error(ErrorKind::kUnsupported, directory, "holds tokenizer.json, expected a sentencepiece tokenizer.model");
    }
    throw Error(ErrorKind::kIo, path, "does not exist", "Prompts can be given as token ids with --ids.");
  }
  auto& processor = impl_->processor;
  const auto status = processor.LoadFromSerializedProto(ReadFile(path));
  if (!status.ok()) {
    throw Error(ErrorKind::kInvalidInput, path, fmt::format("is no sentencepiece model: {}", status.ToString()));
  }
  if (pieces() > config.vocab) {
    throw Error(ErrorKind::kInvalidInput, path,
                fmt::format("found {} pieces, expected at most {}, config.json's vocab_size", pieces(), config.vocab));
  }
  if (processor.bos_id() >= 0) bos_ = TokenId{processor.bos_id()};
  if (processor.eos_id() >= 0) eos_ = TokenId{processor.eos_id()};
  const std::string rules_path = (fs::path(directory) / "tokenizer_config.json").string();
  if (fs::exists(rules_path)) {
    const JsonObject rules = JsonObject::FromFile(rules_path);
    add_bos_ = rules.Bool("add_bos_token", true);
    add_eos_ = rules.Bool("add_eos_token", false);
    for (const auto& [key, id] : {std::pair("bos_token", &bos_), std::pair("eos_token", &eos_)}) {
      const std::optional<std::string> piece = SpecialToken(rules, key);
      if (!piece) continue;
      *id = TokenId{processor.PieceToId(*piece)};
      if (processor.IdToPiece(ToInt(**id)) != *piece) rules.Fail(key, fmt::format("a piece of {}", path));
    }
  }
  if (add_bos_ && (!bos_ || (config.bos && *config.bos != *bos_))) {
    throw Error(ErrorKind::kInvalidInput, path,
                fmt::format("found BOS {}, expected {}, config.json's bos_token_id", bos_ ? ToInt(*bos_) : -1,
                            config.bos ? ToInt(*config.bos) : -1));
  }
  if (add_eos_ && !eos_)
    throw Error(ErrorKind::kInvalidInput, rules_path, "add_eos_token is true, but there is no EOS");
}

Tokenizer::~Tokenizer() = default;

int64_t Tokenizer::pieces() const { return impl_->processor.GetPieceSize(); }

std::vector<TokenId> Tokenizer::EncodeText(std::string_view text) const {
  if (const auto offset = FindInvalidUtf8(text)) {
    throw Error(
        ErrorKind::kInvalidInput, "prompt",
        fmt::format("is not valid UTF-8 at byte {} (0x{:02x})", *offset, static_cast<unsigned char>(text[*offset])));
  }
  std::vector<int> ids;
  const auto status = impl_->processor.Encode({text.data(), text.size()}, &ids);
  if (!status.ok()) throw Error(ErrorKind::kInvalidInput, "prompt", status.ToString());
  std::vector<TokenId> tokens;
  tokens.reserve(ids.size());
  for (int id : ids) tokens.push_back(TokenId{id});
  return tokens;
}

std::vector<TokenId> Tokenizer::Encode(std::string_view text) const {
  std::vector<TokenId> tokens = EncodeText(text);
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
  const int id = ToInt(token);
  const auto& processor = impl_->processor;
  if (id < 0 || id >= pieces() || processor.IsControl(id)) return {};
  const std::string& piece = processor.IdToPiece(id);
  if (processor.IsByte(id)) {
    return {std::string(1, static_cast<char>(std::stoi(piece.substr(3, 2), nullptr, 16))), true};  // "<0xE2>"
  }
  if (processor.IsUnknown(id)) return {" \xe2\x81\x87 ", false};  // sentencepiece's " U+2047 "
  Piece result;
  for (size_t i = 0; i < piece.size();) {
    const bool space = std::string_view(piece).substr(i).starts_with(kSpace);
    result.text += space ? " " : piece.substr(i, 1);
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
