#include "models/llama.h"

#include "kernels/ops/embed.h"
#include "kernels/ops/rms_norm.h"
#include "kernels/ops/rope.h"

namespace triforce {

LlamaState LlamaState::Rows(int64_t rows) const {
  const auto first = [rows](const TensorView& t) { return t.Slice(0, 0, rows); };
  return {first(hidden), first(normed), first(qkv), first(attended), first(ffn), first(cos), first(sin)};
}

void LlamaEmbed(Lane& lane, const LlamaWeights& weights, const TensorView& ids, const TensorView& positions,
                const LlamaState& state) {
  Embed(lane, {weights.embedding, ids, state.hidden});
  RopeTable(lane, {positions, weights.inverse_frequency, weights.rope_scaling, state.cos, state.sin});
}

void LlamaLayer(Lane& lane, const ModelConfig& config, const LlamaLayerWeights& weights, int64_t layer,
                const LlamaState& state, AttentionCache& cache) {
  const int64_t q_end = config.q_features(), k_end = q_end + config.kv_features(), v_end = k_end + config.kv_features();
  const TensorView q = state.qkv.Slice(1, 0, q_end).SplitRows(config.heads, config.head_dim);
  const TensorView k = state.qkv.Slice(1, q_end, k_end).SplitRows(config.kv_heads, config.head_dim);
  const TensorView v = state.qkv.Slice(1, k_end, v_end).SplitRows(config.kv_heads, config.head_dim);
  const TensorView attended = state.attended.SplitRows(config.heads, config.head_dim);

  RmsNorm(lane,
          {.x = state.hidden, .weight = weights.attention_norm, .epsilon = config.rms_norm_eps, .out = state.normed});
  Linear(lane, {.x = state.normed, .weight = weights.qkv, .out = state.qkv});
  Rope(lane, {q, state.cos, state.sin});
  Rope(lane, {k, state.cos, state.sin});
  cache.Attend(lane, {layer, q, k, v, attended});
  Linear(lane, {.x = state.attended, .weight = weights.attention_out, .residual = state.hidden, .out = state.hidden});

  RmsNorm(lane, {.x = state.hidden, .weight = weights.mlp_norm, .epsilon = config.rms_norm_eps, .out = state.normed});
  Linear(lane, {.x = state.normed, .weight = weights.gate_up, .out = state.ffn});
  Linear(lane, {.x = state.ffn, .weight = weights.down, .residual = state.hidden, .out = state.hidden});
}

void LlamaLogits(Lane& lane, const ModelConfig& config, const LlamaWeights& weights, const TensorView& hidden,
                 const TensorView& normed, const TensorView& logits) {
  RmsNorm(lane, {.x = hidden, .weight = weights.final_norm, .epsilon = config.rms_norm_eps, .out = normed});
  Linear(lane, {.x = normed, .weight = weights.lm_head, .out = logits});
}

}  // namespace triforce
