// The flags of sampling, on top of what the model's generation_config.json says.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "models/config.h"
#include "models/token_id.h"
#include "runtime/sampling_options.h"

namespace CLI {
class App;
}

namespace triforce {

struct SamplingFlags {
  std::optional<float> temp, top_p, min_p, repeat_penalty;
  std::optional<int32_t> top_k;
  float frequency_penalty = 0;
  float presence_penalty = 0;
  std::optional<uint64_t> seed;
};

void AddSamplingFlags(CLI::App& app, SamplingFlags& flags);

// A flag, where it is given; else the model's defaults, where it has any; else those of the published figures. A seed
// that is not given is drawn. Throws Error: kUsage where a value is out of its range; as ReadGenerationConfig does.
SamplingOptions MakeSamplingOptions(const SamplingFlags& flags, const std::string& model_directory,
                                    const ModelConfig& config);

// The tokens that end a text.
std::vector<TokenId> EndOfSequence(const std::string& model_directory, const ModelConfig& config);

}  // namespace triforce
