// Which tensors of a checkpoint make up which weight: Hugging Face's names for Llama.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "kernels/ops/linear.h"
#include "models/config.h"

namespace triforce {

// A matrix of the model: NAME.weight, [out_features, in_features], and perhaps NAME.bias.
struct MatrixName {
  std::string name;
  int64_t out_features = 0;
};

// Everything that makes up one LinearWeight.
struct LinearSource {
  LinearForm form = LinearForm::kPlain;
  int64_t in_features = 0;
  std::vector<MatrixName> matrices;
  bool bias = false;  // each matrix has one
};

struct LayerSources {
  std::string attention_norm, mlp_norm;
  LinearSource qkv, attention_out, gate_up, down;
};

LayerSources SourcesOf(const ModelConfig& config, int64_t layer);
LinearSource LmHeadSource(const ModelConfig& config);
std::string EmbeddingName();
std::string FinalNormName();

}  // namespace triforce
