// The flags of `triforce generate`, and what its ways of running have in common.
#pragma once

#include <cstdint>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "models/config.h"
#include "models/token_id.h"
#include "runtime/generate.h"
#include "tools/model_options.h"
#include "tools/sampling_flags.h"
#include "tools/speculation_options.h"

namespace CLI {
class App;
}

namespace triforce {

struct GenerateFlags {
  ModelOptions model;
  InputOptions input;
  SamplingFlags sampling;
  SpeculationFlags speculation;
  int64_t predict = 256;
  int64_t samples = 1;
  std::string prompts;  // of several sequences, a JSON object a line
  int64_t batch = 8;    // of them, side by side
  std::vector<std::string> stop;
  bool ignore_eos = false;
  bool no_display_prompt = false;
  std::string output_ids;
  std::string stats_json;
};

void AddGenerateFlags(CLI::App& app, GenerateFlags& flags);

// Throws Error (kUsage) where flags are out of range; as MakeSamplingOptions does.
GenerateOptions MakeGenerateOptions(const GenerateFlags& flags, const ModelConfig& config);

// Whether anything is wanted besides the text.
bool WritesFiles(const GenerateFlags& flags);

// "length", "eos", ...: as in --stats-json.
const char* NameOf(FinishReason reason);
nlohmann::json Ids(const std::vector<TokenId>& tokens);
// "17 4 220": what stands for a text where there is no tokenizer.
std::string IdText(const std::vector<TokenId>& tokens);
double MillisecondsPer(double ms, int64_t tokens);
// The model's tokenizer, or null where it has none and `ids_given`. Throws Error where flags cannot do without.
std::unique_ptr<Tokenizer> OpenTokenizerFor(const GenerateFlags& flags, const ModelConfig& config, bool ids_given);
// "decode: 200 tokens in 2.91 s, 14.559 ms per token, 68.7 tokens/s", on stderr.
void SayStep(const char* step, int64_t tokens, double ms);
}  // namespace triforce
