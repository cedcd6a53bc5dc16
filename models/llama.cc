#include "models/llama.h"

#include "kernels/ops/rms_norm.h"
#include "kernels/ops/rope.h"

namespace triforce {

LlamaState LlamaState::Slice(int64_t begin, int64_t end) const {
  const auto of = [&](const TensorView& t) { return t.Slice(0, begin, end); };
  return {of(hidden), of(normed), of(qkv), of(attended), of(ffn), of(cos), of(sin)};
}

void LlamaLayer(Lane& lane, const ModelConfig& config, const LlamaLayerAccess& access, const LlamaState& state) {
  const int64_t q_end = config.q_features(), k_end = q_end + config.kv_features(), v_end = k_end + config.kv_features();
  const TensorView q = state.qkv.Slice(1, 0, q_end).SplitRows(config.heads, config.head_dim);
  const TensorView k = state.qkv.Slice(1, q_end, k_end).SplitRows(config.kv_heads, config.head_dim);
  const TensorView v = state.qkv.Slice(1, k_end, v_end).SplitRows(config.kv_heads, config.head_dim);
  const TensorView attended = state.attended.SplitRows(config.heads, config.head_dim);
  const auto norm = [&](const TensorView& weight) {
    RmsNorm(lane, {.x = state.hidden, .weight = weight, .epsilon = config.rms_norm_eps, .out = state.normed});
  };
  const auto linear = [&](LlamaLinear which, const LinearRows& rows) {
    access.linears.Apply(lane, access.layer, which, rows);
  };

  norm(access.weights.attention_norm);
  linear(LlamaLinear::kQkv, {.x = state.normed, .out = state.qkv});
  Rope(lane, {q, state.cos, state.sin});
  Rope(lane, {k, state.cos, state.sin});
  access.cache.Attend(lane, {access.layer, q, k, v, attended});
  linear(LlamaLinear::kAttentionOut, {.x = state.attended, .residual = state.hidden, .out = state.hidden});

  norm(access.weights.mlp_norm);
  linear(LlamaLinear::kGateUp, {.x = state.normed, .out = state.ffn});
  linear(LlamaLinear::kDown, {.x = state.ffn, .residual = state.hidden, .out = state.hidden});
}

void LlamaLogits(Lane& lane, const ModelConfig& config, const LlamaWeights& weights, const TensorView& hidden,
                 const TensorView& normed, const TensorView& logits) {
  RmsNorm(lane, {.x = hidden, .weight = weights.final_norm, .epsilon = config.rms_norm_eps, .out = normed});
  Linear(lane, {.x = normed, .weight = weights.lm_head, .out = logits});
}

}  // namespace triforce
