// RopeFrequencies: the angles per position of a model's RoPE, by type, and YaRN's attention scaling.
//
// Source: transformers' modeling_rope_utils. Its steps are followed in f32, one by one: positions up to 131,072
// multiply these numbers, so an ulp here is a visible angle there. YaRN: Peng et al., arXiv 2309.00071.
#pragma once

#include <vector>

#include "models/config.h"

namespace triforce {

struct RopeFrequencies {
  std::vector<float> inverse;  // [head_dim / 2]: radians per position
  float scaling = 1.0f;        // of cos and sin
};

RopeFrequencies ComputeRopeFrequencies(const ModelConfig& config);

}  // namespace triforce
