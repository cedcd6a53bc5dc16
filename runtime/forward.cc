#include "runtime/forward.h"

#include <algorithm>
#include <numeric>
#include <vector>

#include "kernels/core/check.h"
#include "kernels/core/device.h"

namespace triforce {

Forward::Forward(Lane& lane, const ModelConfig& config, const LlamaWeights& weights, int64_t max_rows,
                 int64_t max_positions)
    : lane_(lane), config_(config), weights_(weights), max_rows_(max_rows), max_positions_(max_positions) {
  Arena sizes;
  Cut(sizes);
  arena_ = Arena(lane.device(), sizes.used_bytes(), "the activations");
  Cut(arena_);
  std::vector<int32_t> positions(max_positions);
  std::iota(positions.begin(), positions.end(), 0);
  lane.Copy(positions_.data(), positions.data(), positions_.bytes(), "load");
  lane.Synchronize();
}

void Forward::Cut(Arena& arena) {
  const auto rows_of = [&](int64_t features) { return arena.Cut(DType::kF32, {max_rows_, features}); };
  state_ = {.hidden = rows_of(config_.hidden),
            .normed = rows_of(config_.hidden),
            .qkv = rows_of(config_.q_features() + 2 * config_.kv_features()),
            .attended = rows_of(config_.q_features()),
            .ffn = rows_of(config_.ffn),
            .cos = rows_of(config_.head_dim / 2),
            .sin = rows_of(config_.head_dim / 2)};
  ids_ = arena.Cut(DType::kI32, {max_rows_});
  positions_ = arena.Cut(DType::kI32, {max_positions_});
  logits_ = arena.Cut(DType::kF32, {std::min(kLogitsRows, max_rows_), config_.vocab});
}

bool Forward::Run(const Pass& pass, std::stop_token stop) {
  const int64_t rows = static_cast<int64_t>(pass.tokens.size());
  TF_CHECK(rows >= 1 && rows <= max_rows_ && pass.first_position + rows <= max_positions_, "{} rows at {}", rows,
           pass.first_position);
  const LlamaState state = state_.Rows(rows);
  const TensorView ids = ids_.Slice(0, 0, rows);
  lane_.Copy(ids.data(), pass.tokens.data(), ids.bytes(), "token_ids");
  LlamaEmbed(lane_, weights_, ids, positions_.Slice(0, pass.first_position, pass.first_position + rows), state);
  for (int64_t layer = 0; layer < config_.layers; ++layer) {
    LlamaLayer(lane_, config_, weights_.layers[layer], layer, state, *pass.cache);
    if (rows > 1 && stop.stop_possible()) {
      lane_.Synchronize();
      if (stop.stop_requested()) return false;
    }
  }
  return true;
}

TensorView Forward::Logits(int64_t first, int64_t rows) {
  TF_CHECK(rows >= 1 && rows <= logits_.dim(0), "{} rows", rows);
  const TensorView logits = logits_.Slice(0, 0, rows);
  LlamaLogits(lane_, config_, weights_, state_.hidden.Slice(0, first, first + rows),
              state_.normed.Slice(0, first, first + rows), logits);
  return logits;
}

}  // namespace triforce
