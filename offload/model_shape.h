// ModelShape: the sizes of a Llama model, as far as bytes and time depend on them. All that the plan knows of a model.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "kernels/core/dtype.h"

namespace triforce {

// The linear weights of a layer, in the order in which a pass reads them.
enum class LayerMatrix { kQkv, kAttentionOut, kGateUp, kDown };
inline constexpr int kLayerMatrices = 4;
inline constexpr std::array<LayerMatrix, kLayerMatrices> kLayerMatrixOrder = {
    LayerMatrix::kQkv, LayerMatrix::kAttentionOut, LayerMatrix::kGateUp, LayerMatrix::kDown};

// Sizes are those that models/config.h allows, up to 2^20 each: products of the few that make a layer fit 63 bits, and
// what goes beyond is counted in CheckedInts (plan_sizes.cc, placement.cc).
struct ModelShape {
  int64_t layers = 0;
  int64_t hidden = 0;
  int64_t ffn = 0;
  int64_t heads = 0;
  int64_t kv_heads = 0;
  int64_t head_dim = 0;
  int64_t vocab = 0;
  int64_t max_positions = 0;
  bool attention_bias = false;
  bool mlp_bias = false;
  bool tied_embeddings = false;  // a checkpoint has one matrix for embedding and lm_head; a run holds each as it needs
  DType weight_type = DType::kF16;  // of the layers' linear weights; of the largest, where they differ
  DType embedding_type = DType::kF16;
  DType lm_head_type = DType::kF16;

  bool operator==(const ModelShape&) const = default;

  int64_t q_features() const { return heads * head_dim; }
  int64_t kv_features() const { return kv_heads * head_dim; }
  int64_t KvBytesPerToken(DType kv_type) const { return 2 * layers * kv_features() * SizeOf(kv_type); }
  // Parameters of all weights as a checkpoint holds them, tied ones once, without norms and biases.
  int64_t parameters() const;
};

// A matrix as Linear wants it (kernels/ops/linear.h): so many panels of so many bytes.
struct PanelSizes {
  int64_t panels = 0;
  int64_t panel_bytes = 0;
  int64_t bytes() const { return panels * panel_bytes; }
};
PanelSizes PanelSizesOf(const ModelShape& shape, LayerMatrix matrix);
PanelSizes LmHeadPanelSizes(const ModelShape& shape);

// What each of `devices` has of the model where heads and features are shared out: the embedding whole, a share of
// everything else. Throws Error (kUnsupported) where heads, kv_heads, ffn or vocab cannot be divided.
ModelShape ShardOf(const ModelShape& shape, int64_t devices);

// "llama2-7b", "llama2-13b", ...: shapes that can be planned without files. Nothing for other names.
std::optional<ModelShape> NamedShape(std::string_view name);
std::span<const std::string_view> ShapeNames();

}  // namespace triforce
