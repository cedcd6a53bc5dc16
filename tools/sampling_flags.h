// The flags that say how tokens are drawn, and what holds where they are not given.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "models/generation_config.h"
#include "runtime/sampler.h"
#include "tools/flag.h"

namespace triforce {

struct SamplingFlags {
  std::optional<double> temperature, top_p, min_p;
  std::optional<int64_t> top_k;
  std::optional<double> repeat_penalty, frequency_penalty, presence_penalty;
  int64_t seed = -1;  // -1: a random one

  std::vector<Flag> List();
};

// Each option from its flag, else from the model's generation_config.json, else, where there is none, temperature 0.6
// and top-p 0.9. Throws Error (kUsage) that names the flag that is out of range.
SamplingOptions ResolveSampling(const SamplingFlags& flags, const std::optional<GenerationConfig>& model);

// "temperature 0.6, top-p 0.9, seed 42".
std::string SamplingText(const SamplingOptions& options);

}  // namespace triforce
