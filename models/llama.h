// The maths of a Llama model: its weights, the activations of a pass, and a layer as named steps.
//
// Knows nothing of where bytes lie: weights and activations come as views, keys and values go through an
// AttentionCache.
#pragma once

#include <vector>

#include "kernels/core/lane.h"
#include "kernels/core/tensor.h"
#include "kernels/ops/linear.h"
#include "models/config.h"

namespace triforce {

// Of the linear layers' weights, panels may be any part of theirs, or none: whoever applies them (LinearLayers) knows
// where the others are.
struct LlamaLayerWeights {
  TensorView attention_norm;   // f32 [hidden]
  LinearWeight qkv;            // hidden -> q_features + 2 * kv_features
  LinearWeight attention_out;  // q_features -> hidden
  TensorView mlp_norm;         // f32 [hidden]
  LinearWeight gate_up;        // hidden -> ffn, gated
  LinearWeight down;           // ffn -> hidden
};

struct LlamaWeights {
  TensorView embedding;          // f16|bf16|f32 [vocab, hidden]
  TensorView inverse_frequency;  // f32 [head_dim / 2], of RoPE
  float rope_scaling = 1.0f;
  std::vector<LlamaLayerWeights> layers;
  TensorView final_norm;  // f32 [hidden]
  LinearWeight lm_head;   // hidden -> vocab
};

// Activations of one pass, all f32. Rows are the pass' tokens.
struct LlamaState {
  TensorView hidden;    // [rows, hidden]: the residual stream
  TensorView normed;    // [rows, hidden]
  TensorView qkv;       // [rows, q_features + 2 * kv_features]
  TensorView attended;  // [rows, q_features]
  TensorView ffn;       // [rows, ffn]
  TensorView cos;       // [rows, head_dim / 2]
  TensorView sin;       // [rows, head_dim / 2]

  // The same for the first `rows` rows; for rows [begin, end).
  LlamaState Rows(int64_t rows) const { return Slice(0, rows); }
  LlamaState Slice(int64_t begin, int64_t end) const;
};

// A pass' queries, keys and values in one layer, RoPE applied.
struct LayerAttention {
  int64_t layer = 0;
  TensorView q;    // f32 [rows, heads, head_dim]
  TensorView k;    // f32 [rows, kv_heads, head_dim]
  TensorView v;    // f32 [rows, kv_heads, head_dim]
  TensorView out;  // f32 [rows, heads, head_dim]; written
};

// The linear layers of a Llama layer.
enum class LlamaLinear { kQkv, kAttentionOut, kGateUp, kDown };

// The rows that a linear layer is applied to; as in LinearArgs.
struct LinearRows {
  TensorView x;
  TensorView residual;  // optional
  TensorView out;
};

// The linear layers of a model, wherever their weights lie.
class LinearLayers {
 public:
  virtual ~LinearLayers() = default;
  // Queues out = x * W^T and what else belongs to it (kernels/ops/linear.h).
  virtual void Apply(Lane& lane, int64_t layer, LlamaLinear which, const LinearRows& rows) = 0;
};

// Where attention finds earlier keys and values, and leaves the pass' own.
class AttentionCache {
 public:
  virtual ~AttentionCache() = default;
  // Queues: keep a.k and a.v, and set a.out to the attention of each row to all tokens up to itself.
  virtual void Attend(Lane& lane, const LayerAttention& a) = 0;
};

// A layer's weights and KV.
struct LlamaLayerAccess {
  int64_t layer = 0;
  const LlamaLayerWeights& weights;  // norms
  LinearLayers& linears;
  AttentionCache& cache;
};

// Queues one layer: state.hidden in, state.hidden out.
void LlamaLayer(Lane& lane, const ModelConfig& config, const LlamaLayerAccess& access, const LlamaState& state);

// Queues logits = lm_head(norm(hidden)) for the given rows. hidden, normed: f32 [rows, hidden]; logits: f32 [rows,
// vocab].
void LlamaLogits(Lane& lane, const ModelConfig& config, const LlamaWeights& weights, const TensorView& hidden,
                 const TensorView& normed, const TensorView& logits);

}  // namespace triforce
