// Tokenizer: text to tokens and back, by a sentencepiece tokenizer.model, with the rules of tokenizer_config.json.
//
// Text is text: "<s>" in a prompt is three characters and not BOS (transformers' tokenizer would take it for BOS), and
// "<|im_start|>" twelve. The other way round, tokens that a model adds to tokenizer.model (added_tokens.h) have a text.
// Thread-safe once made. Streaming back to text: detokenizer.h.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "models/config.h"
#include "models/token_id.h"

namespace triforce {

class JsonObject;

class Tokenizer {
 public:
  // Reads DIRECTORY/tokenizer.model and, where there is one, tokenizer_config.json; checks them against `config`.
  // Throws Error: kIo, kInvalidInput, kUnsupported.
  Tokenizer(const std::string& directory, const ModelConfig& config);
  ~Tokenizer();

  // Whether DIRECTORY holds a tokenizer of this kind.
  static bool Exists(const std::string& directory);

  int64_t pieces() const;
  bool adds_bos() const { return add_bos_; }
  bool adds_eos() const { return add_eos_; }
  // What a person should know of how it differs from config.json, a line each.
  const std::vector<std::string>& notes() const { return notes_; }

  // The tokens of `text`, with BOS and EOS as tokenizer_config.json says. Throws Error (kInvalidInput) with the byte
  // offset where `text` is not UTF-8.
  std::vector<TokenId> Encode(std::string_view text, const std::string& source = "prompt") const;
  // The same without BOS and EOS.
  std::vector<TokenId> EncodeText(std::string_view text, const std::string& source = "prompt") const;

  // The text of all of `tokens` at once, as sentencepiece has it; tokens that are added to its pieces have none here.
  std::string Decode(const std::vector<TokenId>& tokens) const;

  // What one token stands for.
  struct Piece {
    enum class Kind {
      kNothing,  // past pieces and added tokens: a model's vocabulary may be padded
      kControl,  // BOS, EOS and the like: no text, but a byte sequence ends here
      kText,
      kByte,  // `text` is one byte, of a character that may need more of them
    };
    Kind kind = Kind::kNothing;
    std::string text;
    // Whether a space at its front is the one that sentencepiece puts before a text, if it comes first.
    bool may_begin_text = false;
  };
  Piece PieceOf(TokenId token) const;

  // How many spaces sentencepiece takes away where a text begins: none, the first, or all that come alone.
  enum class LeadingSpaces { kKeep, kDropFirst, kDropAll };
  LeadingSpaces leading_spaces() const { return leading_spaces_; }

 private:
  struct Impl;

  void ReadRules(const JsonObject& rules);
  void NoteDifference(const std::string& path, const char* name, TokenId id, const std::vector<TokenId>& of_model);

  std::unique_ptr<Impl> impl_;  // keeps sentencepiece out of this header
  LeadingSpaces leading_spaces_ = LeadingSpaces::kKeep;
  bool add_bos_ = true;
  bool add_eos_ = false;
  std::optional<TokenId> bos_;
  std::optional<TokenId> eos_;
  std::vector<std::string> notes_;
};

// The offset of the first byte that is not part of valid UTF-8 (no surrogates, nothing overlong), if there is one.
std::optional<size_t> FindInvalidUtf8(std::string_view text);

// Length of the valid UTF-8 character at the start of `text`; 0: invalid; -1: may become one with more bytes.
int Utf8CharacterLength(std::string_view text);

}  // namespace triforce
