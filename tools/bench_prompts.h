// BenchPrompts: texts for `triforce bench`, cut to the length that is asked for.
#pragma once

#include <cstdint>
#include <stop_token>
#include <string>
#include <vector>

#include "models/token_id.h"
#include "models/tokenizer.h"

namespace triforce {

// A text, from some token on.
struct BenchText {
  std::string name;             // "book.txt@5000": the file's name, without its folder
  std::vector<TokenId> tokens;  // what there is, a first token of the text's beginning (BOS) included
};

// Reads "FILE" or "FILE@TOKEN"; a file whose name ends so is taken as it is. Throws Error: kIo, kInvalidInput (the
// text, or a first token beyond its end); Interrupted where `stop` is requested.
BenchText ReadBenchText(const std::string& argument, const Tokenizer& tokenizer, const std::stop_token& stop);

// The first `tokens` of it. Throws Error (kInvalidInput) where there are fewer.
std::vector<TokenId> CutPrompt(const BenchText& text, int64_t tokens);

}  // namespace triforce
