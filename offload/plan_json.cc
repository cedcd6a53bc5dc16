#include "offload/plan_json.h"

#include <string>

namespace triforce {
namespace {

using nlohmann::json;

json ShapeJson(const ModelShape& s) {
  return {{"layers", s.layers},
          {"hidden", s.hidden},
          {"ffn", s.ffn},
          {"heads", s.heads},
          {"kv_heads", s.kv_heads},
          {"head_dim", s.head_dim},
          {"vocab", s.vocab},
          {"max_positions", s.max_positions},
          {"attention_bias", s.attention_bias},
          {"mlp_bias", s.mlp_bias},
          {"tied_embeddings", s.tied_embeddings},
          {"weight_type", Name(s.weight_type)},
          {"embedding_type", Name(s.embedding_type)},
          {"lm_head_type", Name(s.lm_head_type)}};
}

json RatesJson(const Rates& r) {
  return {{"device_read_gbps", r.device_read_gbps},
          {"matmul_gflops", r.matmul_gflops},
          {"attention_gflops", r.attention_gflops},
          {"op_us", r.op_us},
          {"link_to_device_gbps", r.link_to_device_gbps},
          {"link_to_host_gbps", r.link_to_host_gbps},
          {"link_both_gbps", r.link_both_gbps},
          {"compute_share_copying", r.compute_share_copying},
          {"host_read_gbps", r.host_read_gbps},
          {"disk_read_gbps", r.disk_read_gbps},
          {"disk_write_gbps", r.disk_write_gbps},
          {"all_reduce_us", r.all_reduce_us},
          {"source", r.source}};
}

template <typename T>
json OrNull(const std::optional<T>& value) {
  return value ? json(*value) : json(nullptr);
}

json OptionsJson(const PlanOptions& o) {
  return {{"resident_weight_bytes", OrNull(o.resident_weight_bytes)},
          {"resident_kv_bytes", OrNull(o.resident_kv_bytes)},
          {"host_weight_bytes", OrNull(o.host_weight_bytes)},
          {"host_kv_bytes", OrNull(o.host_kv_bytes)},
          {"pinned_bytes", OrNull(o.pinned_bytes)},
          {"slots", OrNull(o.slots)},
          {"slot_bytes", OrNull(o.slot_bytes)},
          {"hidden_on_device", OrNull(o.hidden_on_device)},
          {"embedding_on_device", OrNull(o.embedding_on_device)},
          {"prefill_rows", o.prefill_rows},
          {"chunk_tokens", o.chunk_tokens},
          {"budget_tokens", o.budget_tokens},
          {"weighs_chunks", o.weighs_chunks},
          {"gamma", o.gamma},
          {"draft_gamma", o.draft_gamma},
          {"most_gamma", o.most_gamma},
          {"pipeline", o.pipeline}};
}

json TierJson(const TierPlan& tier) {
  json items = json::array();
  for (const PlanItem& item : tier.items) items.push_back({{"name", item.name}, {"bytes", item.bytes}});
  return {{"limit_bytes", tier.limit_bytes}, {"used_bytes", tier.used_bytes()}, {"items", items}};
}

json LayerJson(const LayerPlan& layer) {
  static constexpr const char* kNames[] = {"qkv", "attention_out", "gate_up", "down"};
  json out = {{"kv_blocks", {{"resident", layer.kv.resident}, {"host", layer.kv.host}, {"disk", layer.kv.disk}}}};
  for (const LayerMatrix m : kLayerMatrixOrder) {
    const MatrixPlan& matrix = layer.matrix(m);
    out[kNames[static_cast<int>(m)]] = {{"panel_bytes", matrix.panel_bytes},
                                        {"resident", matrix.resident},
                                        {"host", matrix.host},
                                        {"disk", matrix.disk()}};
  }
  return out;
}

}  // namespace

json ToJson(const Plan& plan) {
  json layers = json::array();
  for (const LayerPlan& layer : plan.layers) layers.push_back(LayerJson(layer));
  const PlanInput& input = plan.input;
  const PlanTimes& t = plan.times;
  return {
      {"shape", ShapeJson(input.shape)},
      {"kv_type", Name(input.kv_type)},
      {"context_tokens", input.context_tokens},
      {"predict_tokens", input.predict_tokens},
      {"batch", input.batch},
      {"devices", input.devices},
      {"rates", RatesJson(input.rates)},
      {"link_gbps", input.link_gbps},
      {"options", OptionsJson(input.options)},
      {"layers", layers},
      {"ring",
       {{"slots", plan.ring.slots}, {"slot_bytes", plan.ring.slot_bytes}, {"staging_slots", plan.ring.staging_slots}}},
      {"kv_block_bytes", plan.kv_block_bytes()},
      {"tail_blocks", plan.tail_blocks},
      {"activation_rows", plan.activation_rows},
      {"partial_bytes", plan.partial_bytes},
      {"guest_blocks", plan.guest_blocks},
      {"hidden_on_device", plan.hidden_on_device},
      {"embedding_on_device", plan.embedding_on_device},
      {"stages_host", plan.stages_host},
      {"device", TierJson(plan.device)},
      {"host", TierJson(plan.host)},
      {"disk", TierJson(plan.disk)},
      {"streamed_bytes_per_pass", plan.StreamedBytesPerPass()},
      {"disk_bytes_per_pass", plan.DiskBytesPerPass()},
      {"times",
       {{"prefill_ms", t.prefill_ms},
        {"decode_ms", t.decode_ms},
        {"decode_link_ms", t.decode_link_ms},
        {"decode_disk_ms", t.decode_disk_ms},
        {"decode_compute_ms", t.decode_compute_ms},
        {"retrieval_pass_ms", t.retrieval_pass_ms},
        {"reselect_ms", t.reselect_ms},
        {"draft_pass_ms", t.draft_pass_ms},
        {"verify_ms", t.verify_ms},
        {"verify_compute_ms", t.verify_compute_ms}}}};
}

}  // namespace triforce
