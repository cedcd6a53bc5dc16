#include "models/config.h"

#include <fmt/core.h>

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "kernels/core/error.h"
#include "models/json_file.h"
#include "models/model_directory.h"

namespace triforce {
namespace {

// Beyond any Llama model, and small enough for products of three of them to fit 63 bits.
constexpr int64_t kMaxDimension = 1 << 20;
constexpr int64_t kMaxPositions = 1 << 30;
constexpr double kMaxFactor = 1e6;
constexpr double kMinTheta = 1.001;  // YaRN divides by its logarithm
constexpr double kMaxTheta = 1e12;

[[noreturn]] void Unsupported(const JsonObject& config, const std::string& what) {
  throw Error(ErrorKind::kUnsupported, config.where(), what,
              "Models of the architecture LlamaForCausalLM are supported.");
}

// Whether `names`, config.json's architectures, have LlamaForCausalLM in any spelling.
bool NamesLlama(const nlohmann::json& names) {
  return names.is_array() && std::any_of(names.begin(), names.end(), [](const nlohmann::json& name) {
           if (!name.is_string()) return false;
           std::string lower = name.get<std::string>();
           std::transform(lower.begin(), lower.end(), lower.begin(), [](unsigned char c) { return std::tolower(c); });
           return lower == "llamaforcausallm";
         });
}

// The method of a quantization_config, as far as it says: "gptq, 4 bits".
std::string QuantizationMethod(const nlohmann::json& quantization) {
  const auto field = [&](const char* key) {
    const auto it = quantization.find(key);
    return it == quantization.end() || !(it->is_string() || it->is_number_integer()) ? "" : Shown(*it);
  };
  if (!quantization.is_object()) return "in a way that is not told";
  const std::string method = field("quant_method"), bits = field("bits");
  return (method.empty() ? "in a way that is not told" : method) + (bits.empty() ? "" : ", " + bits + " bits");
}

void CheckArchitecture(const JsonObject& config) {
  // As in transformers, model_type decides where it is given: architectures has had other spellings, and names what a
  // checkpoint was saved from.
  const std::string type = config.String("model_type", "llama");
  if (type != "llama") Unsupported(config, fmt::format("model_type: found \"{}\", expected \"llama\"", type));
  if (!config.Has("model_type") && config.Has("architectures")) {
    const nlohmann::json& names = config.json().at("architectures");
    if (!NamesLlama(names)) {
      Unsupported(config, fmt::format("architectures: found {}, expected [\"LlamaForCausalLM\"]", Shown(names)));
    }
  }
  const std::string activation = config.String("hidden_act", "silu");
  if (activation != "silu") Unsupported(config, fmt::format("hidden_act: found \"{}\", expected \"silu\"", activation));
  if (config.Has("quantization_config")) {
    throw Error(ErrorKind::kUnsupported, config.where(),
                fmt::format("quantization_config: the weights are quantised ({}), expected F16, BF16 or F32",
                            QuantizationMethod(config.json().at("quantization_config"))),
                "Give the model as it was before it was quantised.");
  }
}

RopeType ParseRopeType(const JsonObject& rope) {
  // transformers writes both names and reads rope_type first.
  const std::string name = rope.String("rope_type", rope.String("type", "default"));
  for (RopeType type : {RopeType::kDefault, RopeType::kLinear, RopeType::kYarn, RopeType::kLlama3}) {
    if (name == Name(type)) return type;
  }
  throw Error(ErrorKind::kUnsupported, rope.where(),
              fmt::format("rope_type: found \"{}\", expected default, linear, yarn or llama3", name));
}

void ParseYarn(const JsonObject& scaling, RopeConfig& rope) {
  rope.beta_fast = scaling.Number("beta_fast", 1e-6, kMaxFactor, 32.0);
  rope.beta_slow = scaling.Number("beta_slow", 1e-6, kMaxFactor, 1.0);
  if (rope.beta_fast < rope.beta_slow) scaling.Fail("beta_fast", fmt::format("at least beta_slow, {}", rope.beta_slow));
  rope.truncate = scaling.Bool("truncate", true);
  const auto optional = [&](const char* name) -> std::optional<double> {
    if (!scaling.Has(name)) return std::nullopt;
    return scaling.Number(name, 0, kMaxFactor);
  };
  rope.attention_factor = optional("attention_factor");
  rope.mscale = optional("mscale");
  rope.mscale_all_dim = optional("mscale_all_dim");
}

void ParseLlama3(const JsonObject& scaling, RopeConfig& rope) {
  rope.low_freq_factor = scaling.Number("low_freq_factor", 1e-6, kMaxFactor);
  rope.high_freq_factor = scaling.Number("high_freq_factor", 1e-6, kMaxFactor);
  if (rope.high_freq_factor <= rope.low_freq_factor) {
    scaling.Fail("high_freq_factor", fmt::format("more than low_freq_factor, {}", rope.low_freq_factor));
  }
}

// The part of head_dim that turns. transformers' Llama ignores it for some types and not for others: refused.
void CheckAllTurns(const JsonObject& object) {
  if (object.Number("partial_rotary_factor", 0, 1, 1.0) == 1) return;
  throw Error(ErrorKind::kUnsupported, object.where() + ": partial_rotary_factor", "found less than 1, expected 1");
}

RopeConfig ParseRope(const JsonObject& config, int64_t max_positions) {
  RopeConfig rope;
  rope.theta = config.Number("rope_theta", kMinTheta, kMaxTheta, 10000.0);
  CheckAllTurns(config);
  // Where a file has both spellings, transformers takes the older one.
  const bool older = config.Has("rope_scaling") && !config.Object("rope_scaling").json().empty();
  const char* const key = older ? "rope_scaling" : "rope_parameters";
  if (!config.Has(key)) return rope;
  const JsonObject scaling = config.Object(key);
  CheckAllTurns(scaling);
  rope.theta = scaling.Number("rope_theta", kMinTheta, kMaxTheta, rope.theta);
  rope.type = ParseRopeType(scaling);
  if (rope.type == RopeType::kDefault) return rope;
  // Likewise, what stands outside wins here.
  rope.original_positions =
      config.Int("original_max_position_embeddings", 1, kMaxPositions,
                 scaling.Int("original_max_position_embeddings", 1, kMaxPositions, max_positions));
  std::optional<double> factor;
  if (rope.type == RopeType::kYarn) {
    factor = std::max(1.0, static_cast<double>(max_positions) / static_cast<double>(rope.original_positions));
  }
  rope.factor = scaling.Number("factor", 1, kMaxFactor, factor);
  if (rope.type == RopeType::kYarn) ParseYarn(scaling, rope);
  if (rope.type == RopeType::kLlama3) ParseLlama3(scaling, rope);
  return rope;
}

void ParseHeads(const JsonObject& config, ModelConfig& model) {
  model.heads = config.Int("num_attention_heads", 1, kMaxDimension);
  model.kv_heads = config.Int("num_key_value_heads", 1, kMaxDimension, model.heads);
  if (model.heads % model.kv_heads != 0) {
    config.Fail("num_key_value_heads", fmt::format("a divisor of num_attention_heads, {}", model.heads));
  }
  if (!config.Has("head_dim") && model.hidden % model.heads != 0) {
    config.Fail("num_attention_heads", fmt::format("a divisor of hidden_size, {}", model.hidden));
  }
  model.head_dim = config.Int("head_dim", 1, kMaxDimension, model.hidden / model.heads);
  if (model.head_dim % 2 != 0 || model.head_dim > 256) {
    throw Error(ErrorKind::kUnsupported, config.where() + ": head_dim",
                fmt::format("found {}, expected an even number up to 256", model.head_dim));
  }
}

}  // namespace

std::string_view Name(RopeType type) {
  switch (type) {
    case RopeType::kDefault:
      return "default";
    case RopeType::kLinear:
      return "linear";
    case RopeType::kYarn:
      return "yarn";
    case RopeType::kLlama3:
      return "llama3";
  }
  return "?";
}

std::vector<TokenId> ReadTokenIds(const JsonObject& config, const std::string& key, int64_t vocab) {
  if (!config.Has(key)) return {};
  const nlohmann::json& value = config.json().at(key);
  std::vector<TokenId> ids;
  for (const nlohmann::json& id : value.is_array() ? value : nlohmann::json::array({value})) {
    if (!id.is_number_integer() || id.get<int64_t>() < 0 || id.get<int64_t>() >= vocab) {
      config.Fail(key, fmt::format("ids from 0 to {}, the vocabulary's", vocab - 1));
    }
    ids.push_back(TokenId{id.get<int32_t>()});
  }
  return ids;
}

ModelConfig ReadModelConfig(const std::string& directory) {
  CheckModelDirectory(directory);
  const JsonObject config = JsonObject::FromFile((std::filesystem::path(directory) / "config.json").string());
  CheckArchitecture(config);
  ModelConfig model;
  model.vocab = config.Int("vocab_size", 1, kMaxDimension);
  model.hidden = config.Int("hidden_size", 1, kMaxDimension);
  model.ffn = config.Int("intermediate_size", 1, kMaxDimension);
  model.layers = config.Int("num_hidden_layers", 1, 4096);
  ParseHeads(config, model);
  model.max_positions = config.Int("max_position_embeddings", 1, kMaxPositions, 2048);
  model.rms_norm_eps = static_cast<float>(config.Number("rms_norm_eps", 1e-12, 1, 1e-6));
  model.attention_bias = config.Bool("attention_bias", false);
  model.mlp_bias = config.Bool("mlp_bias", false);
  model.tied_embeddings = config.Bool("tie_word_embeddings", false);
  const std::vector<TokenId> bos = ReadTokenIds(config, "bos_token_id", model.vocab);
  if (!bos.empty()) model.bos = bos[0];
  model.eos = ReadTokenIds(config, "eos_token_id", model.vocab);
  model.rope = ParseRope(config, model.max_positions);
  return model;
}

}  // namespace triforce
