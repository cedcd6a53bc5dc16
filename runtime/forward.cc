#include "runtime/forward.h"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <vector>

#include "kernels/core/check.h"
#include "kernels/core/device.h"
#include "kernels/ops/embed.h"
#include "kernels/ops/rope.h"

namespace triforce {
Forward::Forward(const ForwardContext& context)
    : lane_(context.compute),
      config_(context.config),
      weights_(context.weights),
      plan_(context.plan),
      counters_(context.counters) {
  Arena sizes;
  Cut(sizes);
  arena_ = Arena(lane_.device(), sizes.used_bytes(), "the activations");
  Cut(arena_);
  std::vector<int32_t> positions(positions_.dim(0));
  std::iota(positions.begin(), positions.end(), 0);
  lane_.Copy(positions_.data(), positions.data(), positions_.bytes(), "load");
  lane_.Synchronize();
  if (embedding_rows_) {
    host_embedding_rows_ = context.host.Cut(embedding_rows_.bytes(), "rows of the embedding");
    embedding_rows_copied_ = lane_.device().NewEvent();
  }
}

void Forward::Cut(Arena& arena) {
  const int64_t rows = max_rows();
  const auto rows_of = [&](int64_t features) { return arena.Cut(DType::kF32, {rows, features}); };
  state_ = {.hidden = rows_of(config_.hidden),
            .normed = rows_of(config_.hidden),
            .qkv = rows_of(config_.q_features() + 2 * config_.kv_features()),
            .attended = rows_of(config_.q_features()),
            .ffn = rows_of(config_.ffn),
            .cos = rows_of(config_.head_dim / 2),
            .sin = rows_of(config_.head_dim / 2)};
  second_hidden_ = rows_of(config_.hidden);
  ids_ = arena.Cut(DType::kI32, {rows});
  positions_ = arena.Cut(DType::kI32, {std::max(plan_.input.context_tokens, rows)});
  logits_ = arena.Cut(DType::kF32, {std::min(kLogitsRows, rows), config_.vocab});
  if (!plan_.embedding_on_device) embedding_rows_ = arena.Cut(plan_.shard.embedding_type, {rows, config_.hidden});
  attention_memory_ = {.partials = arena.Cut(DType::kF32, {plan_.partial_bytes / SizeOf(DType::kF32)}),
                       .max = rows_of(config_.heads),
                       .sum = rows_of(config_.heads)};
}

LlamaState Forward::StateFor(const TensorView& hidden) const {
  LlamaState state = state_.Rows(hidden.dim(0));
  state.hidden = hidden;
  return state;
}

void Forward::Position(int64_t first_position, const LlamaState& state, const TensorView& base) {
  const int64_t rows = state.hidden.dim(0);
  RopeTable(lane_, {positions_.Slice(0, first_position, first_position + rows), weights_.llama().inverse_frequency,
                    weights_.llama().rope_scaling, state.cos, state.sin, base});
}

void Forward::Embed(std::span<const TokenId> tokens, const LlamaState& state) {
  const int64_t rows = state.hidden.dim(0);
  if (!embedding_rows_) {
    const TensorView ids = ids_.Slice(0, 0, rows);
    lane_.Copy(ids.data(), tokens.data(), ids.bytes(), "token_ids");
    triforce::Embed(lane_, {weights_.llama().embedding, ids, state.hidden});
    return;
  }
  // Only the rows that are needed cross the link, gathered on the host.
  const int64_t row_bytes = config_.hidden * SizeOf(plan_.shard.embedding_type);
  embedding_rows_copied_->Wait();
  for (int64_t row = 0; row < rows; ++row) {
    std::memcpy(host_embedding_rows_.data() + row * row_bytes,
                weights_.host_embedding().data() + ToInt(tokens[row]) * row_bytes, row_bytes);
  }
  lane_.Copy(embedding_rows_.data(), host_embedding_rows_.data(), rows * row_bytes, "embedding rows");
  lane_.Record(*embedding_rows_copied_);
  counters_.Add(Direction::kHostToDevice, Purpose::kEmbedding, rows * row_bytes);
  triforce::Embed(lane_, {embedding_rows_, positions_.Slice(0, 0, rows), state.hidden});
}

void Forward::Layer(int64_t layer, const LlamaState& state, LinearLayers& linears, AttentionCache& cache) {
  LlamaLayer(lane_, config_,
             {.layer = layer, .weights = weights_.llama().layers[layer], .linears = linears, .cache = cache}, state);
}

void Forward::Run(const Pass& pass) {
  int64_t rows = 0;
  for (const PassRows& part : pass.parts) rows += part.rows();
  TF_CHECK(rows >= 1 && rows <= max_rows(), "{} rows", rows);
  const LlamaState state = state_.Rows(rows);
  int64_t first = 0;
  for (const PassRows& part : pass.parts) {
    TF_CHECK(part.first_position + part.rows() <= positions_.dim(0), "{} rows at {}", part.rows(), part.first_position);
    const LlamaState of_part = state.Slice(first, first + part.rows());
    Embed(part.tokens, of_part);
    Position(part.first_position, of_part);
    first += part.rows();
  }
  SplitAttention split(pass.parts);
  AttentionCache& cache = pass.parts.size() == 1 ? *pass.parts[0].cache : split;
  for (int64_t layer = 0; layer < config_.layers; ++layer) Layer(layer, state, pass.linears, cache);
}

void Forward::Run(const DeviceRows& rows, LinearLayers& linears) {
  TF_CHECK(rows.rows() >= 1 && rows.rows() <= max_rows() && !embedding_rows_, "{} rows", rows.rows());
  const LlamaState state = state_.Rows(rows.rows());
  triforce::Embed(lane_, {weights_.llama().embedding, rows.tokens, state.hidden});
  Position(rows.offset, state, rows.position);
  for (int64_t layer = 0; layer < config_.layers; ++layer) Layer(layer, state, linears, *rows.cache);
}

TensorView Forward::Logits(const TensorView& hidden, int64_t first, int64_t rows) {
  TF_CHECK(rows >= 1 && rows <= logits_.dim(0), "{} rows", rows);
  const TensorView logits = logits_.Slice(0, 0, rows);
  LlamaLogits(lane_, config_, weights_.llama(), hidden.Slice(0, first, first + rows), state_.normed.Slice(0, 0, rows),
              logits);
  return logits;
}

}  // namespace triforce
