// Forward: passes of a model: tokens in, logits out. The place where the model's maths and its memory meet.
#pragma once

#include <cstdint>
#include <span>
#include <stop_token>

#include "kernels/core/arena.h"
#include "kernels/core/lane.h"
#include "models/config.h"
#include "models/llama.h"
#include "models/token_id.h"

namespace triforce {

// Rows of one pass: consecutive tokens of a sequence.
struct Pass {
  std::span<const TokenId> tokens;  // read when the lane comes to it: they must stay where they are until then
  int64_t first_position = 0;
  AttentionCache* cache = nullptr;
};

class Forward {
 public:
  // Rows of logits that are computed at a time.
  static constexpr int64_t kLogitsRows = 64;

  // For passes of up to `max_rows` rows and `max_positions` positions. `config` and `weights` must outlive this.
  // Throws Error (kOutOfMemory).
  Forward(Lane& lane, const ModelConfig& config, const LlamaWeights& weights, int64_t max_rows, int64_t max_positions);

  int64_t max_rows() const { return max_rows_; }

  // Queues the pass through all layers. False where `stop` was requested before the last one: then the pass has no
  // result. With a token that can be stopped, waits for each layer of a pass of more than one row.
  bool Run(const Pass& pass, std::stop_token stop = {});

  // Queues the logits of rows [first, first + rows) of the latest pass: f32 [rows, vocab], until the next call.
  // REQUIRES: 1 <= rows <= kLogitsRows.
  TensorView Logits(int64_t first, int64_t rows);

 private:
  void Cut(Arena& arena);

  Lane& lane_;
  const ModelConfig& config_;
  const LlamaWeights& weights_;
  const int64_t max_rows_;
  const int64_t max_positions_;
  Arena arena_;
  LlamaState state_;
  TensorView ids_;        // i32 [max_rows]
  TensorView positions_;  // i32 [max_positions]: 0, 1, 2, ...
  TensorView logits_;     // f32 [kLogitsRows, vocab]
};

}  // namespace triforce
