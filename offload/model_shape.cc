#include "offload/model_shape.h"

#include <fmt/core.h>

#include "kernels/core/error.h"
#include "kernels/ops/linear.h"

namespace triforce {
namespace {

constexpr std::array<std::string_view, 9> kShapeNames = {"llama-68m",   "llama2-7b",   "llama2-13b",
                                                         "llama2-70b",  "llama3-8b",   "llama3-70b",
                                                         "llama3.2-1b", "llama3.2-3b", "tiny"};

PanelSizes Sizes(LinearForm form, int64_t in_features, int64_t out_features, DType type) {
  return {LinearPanels(form, out_features), in_features * kPanelWidth * SizeOf(type)};
}

ModelShape Tied(ModelShape shape) {
  shape.tied_embeddings = true;
  return shape;
}

}  // namespace

int64_t ModelShape::parameters() const {
  const int64_t attention = hidden * (q_features() + 2 * kv_features()) + q_features() * hidden;
  return layers * (attention + 3 * hidden * ffn) + (tied_embeddings ? 1 : 2) * vocab * hidden;
}

PanelSizes PanelSizesOf(const ModelShape& s, LayerMatrix matrix) {
  switch (matrix) {
    case LayerMatrix::kQkv:
      return Sizes(LinearForm::kPlain, s.hidden, s.q_features() + 2 * s.kv_features(), s.weight_type);
    case LayerMatrix::kAttentionOut:
      return Sizes(LinearForm::kPlain, s.q_features(), s.hidden, s.weight_type);
    case LayerMatrix::kGateUp:
      return Sizes(LinearForm::kGated, s.hidden, s.ffn, s.weight_type);
    case LayerMatrix::kDown:
      return Sizes(LinearForm::kPlain, s.ffn, s.hidden, s.weight_type);
  }
  return {};
}

PanelSizes LmHeadPanelSizes(const ModelShape& s) {
  return Sizes(LinearForm::kPlain, s.hidden, s.vocab, s.lm_head_type);
}

ModelShape ShardOf(const ModelShape& shape, int64_t devices) {
  for (const auto& [name, size] :
       {std::pair{"heads", shape.heads}, {"kv_heads", shape.kv_heads}, {"ffn", shape.ffn}, {"vocab", shape.vocab}}) {
    if (size % devices != 0) {
      throw Error(ErrorKind::kUnsupported, "model",
                  fmt::format("has {} {}, which cannot be shared out among {} devices", size, name, devices));
    }
  }
  ModelShape shard = shape;
  shard.heads /= devices;
  shard.kv_heads /= devices;
  shard.ffn /= devices;
  shard.vocab /= devices;
  return shard;
}

std::optional<ModelShape> NamedShape(std::string_view name) {
  // Published config.json files of meta-llama's models; the 128K of Llama-2 are those of its long-context descendants.
  constexpr int64_t kLong = 131072;
  if (name == "llama-68m") return ModelShape{2, 768, 3072, 12, 12, 64, 32000, 2048};  // JackFram/llama-68m, a draft
  if (name == "llama2-7b") return ModelShape{32, 4096, 11008, 32, 32, 128, 32000, kLong};
  if (name == "llama2-13b") return ModelShape{40, 5120, 13824, 40, 40, 128, 32000, kLong};
  if (name == "llama2-70b") return ModelShape{80, 8192, 28672, 64, 8, 128, 32000, kLong};
  if (name == "llama3-8b") return ModelShape{32, 4096, 14336, 32, 8, 128, 128256, kLong};
  if (name == "llama3-70b") return ModelShape{80, 8192, 28672, 64, 8, 128, 128256, kLong};
  if (name == "llama3.2-1b") return Tied({16, 2048, 8192, 32, 8, 64, 128256, kLong});
  if (name == "llama3.2-3b") return Tied({28, 3072, 8192, 24, 8, 128, 128256, kLong});
  if (name == "tiny") return ModelShape{2, 128, 320, 4, 2, 64, 512, kLong};  // for tests: what runs in no time
  return std::nullopt;
}

std::span<const std::string_view> ShapeNames() { return kShapeNames; }

}  // namespace triforce
