// The prompt: a text, a file, standard input, or a file of token ids.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "models/token_id.h"
#include "tools/flag.h"

namespace triforce {

class Interrupt;
class Tokenizer;
struct ModelConfig;

struct PromptFlags {
  std::optional<std::string> text;
  std::string file;      // "-": standard input
  std::string ids_file;  // a JSON list

  bool gives_ids() const { return !ids_file.empty(); }
  std::vector<Flag> List();
};

struct Prompt {
  std::string name;  // for messages: "prompt", or the file's
  std::string text;  // empty where ids were given
  std::vector<TokenId> tokens;
};

// Reads and tokenizes what the flags say. `tokenizer` may be null where ids are given.
// Throws Error: kUsage where nothing was given; kIo; kInvalidInput for what is empty, no UTF-8 (with the byte's offset)
// or no list of the vocabulary's ids. Throws Interrupted while waiting for standard input.
Prompt ReadPrompt(const PromptFlags& flags, const ModelConfig& config, const Tokenizer* tokenizer,
                  const Interrupt& interrupt);

}  // namespace triforce
