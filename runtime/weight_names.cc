#include "runtime/weight_names.h"

#include <fmt/core.h>

namespace triforce {

LayerSources SourcesOf(const ModelConfig& c, int64_t layer) {
  const std::string prefix = fmt::format("model.layers.{}.", layer);
  const std::string attention = prefix + "self_attn.", mlp = prefix + "mlp.";
  return {.attention_norm = prefix + "input_layernorm.weight",
          .mlp_norm = prefix + "post_attention_layernorm.weight",
          .qkv = {.in_features = c.hidden,
                  .matrices = {{attention + "q_proj", c.q_features()},
                               {attention + "k_proj", c.kv_features()},
                               {attention + "v_proj", c.kv_features()}},
                  .bias = c.attention_bias},
          .attention_out = {.in_features = c.q_features(),
                            .matrices = {{attention + "o_proj", c.hidden}},
                            .bias = c.attention_bias},
          .gate_up = {.form = LinearForm::kGated,
                      .in_features = c.hidden,
                      .matrices = {{mlp + "gate_proj", c.ffn}, {mlp + "up_proj", c.ffn}},
                      .bias = c.mlp_bias},
          .down = {.in_features = c.ffn, .matrices = {{mlp + "down_proj", c.hidden}}, .bias = c.mlp_bias}};
}

LinearSource LmHeadSource(const ModelConfig& c) {
  return {.in_features = c.hidden,
          .matrices = {{c.tied_embeddings ? "model.embed_tokens" : "lm_head", c.vocab}},
          .bias = false};
}

std::string EmbeddingName() { return "model.embed_tokens.weight"; }

std::string FinalNormName() { return "model.norm.weight"; }

}  // namespace triforce
