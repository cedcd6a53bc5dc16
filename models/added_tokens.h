// Tokens that a model adds to the pieces of its tokenizer.model, as fine-tunes do: "<|im_start|>".
//
// They stand in tokenizer_config.json's added_tokens_decoder (transformers since 2023), or else in added_tokens.json.
#pragma once

#include <map>
#include <string>

#include "models/token_id.h"

namespace triforce {

struct AddedToken {
  std::string text;
  bool special = false;  // has no text in what is generated, as BOS and EOS have none
};

// Reads them from DIRECTORY. Also those that only name a piece. Throws Error (kIo, kInvalidInput).
std::map<TokenId, AddedToken> ReadAddedTokens(const std::string& directory);

}  // namespace triforce
