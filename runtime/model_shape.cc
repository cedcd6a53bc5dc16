#include "runtime/model_shape.h"

#include <fmt/core.h>

#include "kernels/core/error.h"
#include "runtime/weight_names.h"

namespace triforce {

ModelShape ShapeOf(const ModelConfig& config) {
  return {.layers = config.layers,
          .hidden = config.hidden,
          .ffn = config.ffn,
          .heads = config.heads,
          .kv_heads = config.kv_heads,
          .head_dim = config.head_dim,
          .vocab = config.vocab,
          .max_positions = config.max_positions,
          .attention_bias = config.attention_bias,
          .mlp_bias = config.mlp_bias,
          .tied_embeddings = config.tied_embeddings};
}

ModelConfig ConfigOf(const ModelShape& shape) {
  constexpr int64_t kLlama2Vocab = 32000;
  ModelConfig config{.vocab = shape.vocab,
                     .hidden = shape.hidden,
                     .ffn = shape.ffn,
                     .layers = shape.layers,
                     .heads = shape.heads,
                     .kv_heads = shape.kv_heads,
                     .head_dim = shape.head_dim,
                     .max_positions = shape.max_positions,
                     .rms_norm_eps = 1e-5f,
                     .attention_bias = shape.attention_bias,
                     .mlp_bias = shape.mlp_bias,
                     .tied_embeddings = shape.tied_embeddings,
                     .bos = {},
                     .eos = {},
                     .rope = {}};
  if (shape.vocab > kLlama2Vocab) config.rope.theta = 500000;
  return config;
}

ModelShape ShapeOf(const ModelConfig& config, const Checkpoint& checkpoint) {
  ModelShape shape = ShapeOf(config);
  shape.embedding_type = *checkpoint.Require(EmbeddingName(), {config.vocab, config.hidden}).dtype;
  shape.lm_head_type =
      *checkpoint.Require(LmHeadSource(config).matrices[0].name + ".weight", {config.vocab, config.hidden}).dtype;
  bool first = true;
  for (int64_t layer = 0; layer < config.layers; ++layer) {
    const LayerSources sources = SourcesOf(config, layer);
    for (const LinearSource* source : {&sources.qkv, &sources.attention_out, &sources.gate_up, &sources.down}) {
      for (const MatrixName& matrix : source->matrices) {
        const std::string name = matrix.name + ".weight";
        const DType dtype = *checkpoint.Require(name, {matrix.out_features, source->in_features}).dtype;
        if (!first && dtype != shape.weight_type) {
          throw Error(ErrorKind::kUnsupported, name,
                      fmt::format("found type {}, expected {}, that of the layers' other linear weights", Name(dtype),
                                  Name(shape.weight_type)));
        }
        shape.weight_type = dtype;
        first = false;
      }
    }
  }
  return shape;
}

}  // namespace triforce
