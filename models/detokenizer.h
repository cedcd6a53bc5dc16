// Detokenizer: tokens to text as they come, never splitting a UTF-8 character. All of it together is what
// sentencepiece's own Decode gives for all of the tokens; a token that is added to its pieces gives its text, as it is.
//
// One per stream; not thread-safe.
#pragma once

#include <string>

#include "models/token_id.h"
#include "models/tokenizer.h"

namespace triforce {

class Detokenizer {
 public:
  // `begins_text`: these tokens begin a text, so that the space which sentencepiece puts before it is dropped;
  // otherwise they continue one. `tokenizer` must outlive this.
  Detokenizer(const Tokenizer& tokenizer, bool begins_text);

  // The text that is certain now. Bytes that can be part of no character become U+FFFD, each one.
  std::string Add(TokenId token);
  // What is left: bytes of a character that was never completed, as U+FFFD.
  std::string Finish();

 private:
  std::string TakeCharacters(bool finished);

  const Tokenizer& tokenizer_;
  Tokenizer::LeadingSpaces leading_spaces_;  // what is still to be taken away
  std::string bytes_;                        // of byte pieces, not yet known to be a character
};

}  // namespace triforce
