// Tokenizer: text to tokens and back, by a sentencepiece tokenizer.model, with the rules of tokenizer_config.json.
//
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

  // The tokens of `text`, with BOS and EOS as tokenizer_config.json says. Throws Error (kInvalidInput) with the byte
  // offset where `text` is not UTF-8.
  std::vector<TokenId> Encode(std::string_view text) const;
  // The same without BOS and EOS.
  std::vector<TokenId> EncodeText(std::string_view text) const;

  // The text of all of `tokens` at once, as sentencepiece has it.
  std::string Decode(const std::vector<TokenId>& tokens) const;

  // What one token stands for. A byte piece gives its byte; control tokens and ids past the pieces give nothing.
  struct Piece {
    std::string text;
    bool is_byte = false;
  };
  Piece PieceOf(TokenId token) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;  // keeps sentencepiece out of this header
  bool add_bos_ = true;
  bool add_eos_ = false;
  std::optional<TokenId> bos_;
  std::optional<TokenId> eos_;
};

// The offset of the first byte that is not part of valid UTF-8 (no surrogates, nothing overlong), if there is one.
std::optional<size_t> FindInvalidUtf8(std::string_view text);

// Length of the valid UTF-8 character at the start of `text`; 0: invalid; -1: may become one with more bytes.
int Utf8CharacterLength(std::string_view text);

}  // namespace triforce
