// ModelConfig: what config.json says of a Llama model, checked.
//
// Format: Hugging Face's LlamaConfig; RoPE parameters as in transformers' modeling_rope_utils, in the older spelling
// (rope_theta beside rope_scaling) and the newer one (all in rope_parameters).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "models/token_id.h"

namespace triforce {

enum class RopeType { kDefault, kLinear, kYarn, kLlama3 };

// "default", "linear", "yarn", "llama3".
std::string_view Name(RopeType type);

struct RopeConfig {
  RopeType type = RopeType::kDefault;
  double theta = 10000;
  double factor = 1;
  int64_t original_positions = 0;                    // of the model before it was extended (yarn, llama3)
  double beta_fast = 32, beta_slow = 1;              // yarn
  bool truncate = true;                              // yarn: the ramp's ends are rounded outwards
  std::optional<double> attention_factor;            // yarn
  std::optional<double> mscale, mscale_all_dim;      // yarn
  double low_freq_factor = 1, high_freq_factor = 4;  // llama3
};

struct ModelConfig {
  int64_t vocab = 0;
  int64_t hidden = 0;
  int64_t ffn = 0;
  int64_t layers = 0;
  int64_t heads = 0;
  int64_t kv_heads = 0;
  int64_t head_dim = 0;
  int64_t max_positions = 0;
  float rms_norm_eps = 0;
  bool attention_bias = false;
  bool mlp_bias = false;
  bool tied_embeddings = false;
  std::optional<TokenId> bos;
  std::vector<TokenId> eos;
  RopeConfig rope;

  int64_t q_features() const { return heads * head_dim; }
  int64_t kv_features() const { return kv_heads * head_dim; }
  // Of all layers, keys and values.
  int64_t kv_elements_per_token() const { return 2 * layers * kv_features(); }
};

// Reads DIRECTORY/config.json. Throws Error: kIo; kInvalidInput, naming the field; kUnsupported for what is well-formed
// but no Llama model this program runs.
ModelConfig ReadModelConfig(const std::string& directory);

class JsonObject;

// A field that holds an id of the vocabulary or a list of them; absent: none. Throws Error (kInvalidInput).
std::vector<TokenId> ReadTokenIds(const JsonObject& object, const std::string& key, int64_t vocab);

}  // namespace triforce
