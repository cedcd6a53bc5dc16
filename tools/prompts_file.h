// A file of prompts, one JSON object a line: {"prompt": "text"} or {"ids": [1, 2, 3]}, and, where they differ from the
// flags, "predict" (tokens) and "seed". Empty lines are passed over.
#pragma once

#include <cstdint>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "models/config.h"
#include "models/token_id.h"
#include "models/tokenizer.h"

namespace triforce {

struct PromptLine {
  std::string where;  // "prompts.jsonl: line 3"
  std::vector<TokenId> tokens;
  std::optional<int64_t> predict;
  std::optional<uint64_t> seed;
};

// `path` may be "-": stdin. `tokenizer` may be null where all lines have ids. Throws Error (kInvalidInput, kIo) with
// the line's number; Interrupted where `stop` is requested while stdin is read.
std::vector<PromptLine> ReadPrompts(const std::string& path, const Tokenizer* tokenizer, const ModelConfig& config,
                                    std::stop_token stop);

}  // namespace triforce
