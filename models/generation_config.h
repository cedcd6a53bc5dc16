// GenerationConfig: the sampling defaults that a model's generation_config.json gives.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "models/config.h"
#include "models/token_id.h"

namespace triforce {

// Fields that the file leaves out have transformers' defaults, as they stand here.
struct GenerationConfig {
  bool do_sample = false;  // false: greedy, whatever the others say
  double temperature = 1.0;
  int64_t top_k = 50;
  double top_p = 1.0;
  double min_p = 0.0;
  double repetition_penalty = 1.0;
  // The tokens that end a text; empty: config.json's. So transformers' generate has it: the tokenizer's own EOS, which
  // may differ, is only what the tokenizer puts behind a text.
  std::vector<TokenId> eos;
};

// DIRECTORY/generation_config.json; none where there is no such file. Throws Error (kIo, kInvalidInput).
std::optional<GenerationConfig> ReadGenerationConfig(const std::string& directory, const ModelConfig& model);

}  // namespace triforce
