// Forward: decoding passes of a model: some tokens of a sequence in, logits out. A prompt goes another way (prefill.h).
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "kernels/core/arena.h"
#include "kernels/core/lane.h"
#include "models/config.h"
#include "models/llama.h"
#include "models/token_id.h"
#include "offload/host_pool.h"
#include "offload/plan.h"
#include "offload/transfer_counters.h"
#include "runtime/load_weights.h"
#include "runtime/segmented_attention.h"
#include "runtime/split_attention.h"

namespace triforce {

// What the passes of a model share. All outlive the Forward.
struct ForwardContext {
  Lane& compute;
  const ModelConfig& config;
  const Weights& weights;
  const Plan& plan;
  HostPool& host;
  TransferCounters& counters;
};

// Rows of one or several sequences that go through the model together. A row's bits do not depend on the others.
struct Pass {
  std::span<const PassRows> parts;
  LinearLayers& linears;
};

// Rows of a sequence whose tokens and position stand in device memory, for a pass that is captured once and replayed.
struct DeviceRows {
  TensorView tokens;    // i32 [rows]
  TensorView position;  // i64 [1], from which the first row stands
  int64_t offset = 0;   // so many places on
  AttentionCache* cache = nullptr;

  int64_t rows() const { return tokens.dim(0); }
};

class Forward {
 public:
  // Rows of logits that are computed at a time.
  static constexpr int64_t kLogitsRows = 64;

  // For passes of up to plan.activation_rows rows. Throws Error (kOutOfMemory).
  explicit Forward(const ForwardContext& context);

  int64_t max_rows() const { return plan_.activation_rows; }
  const AttentionMemory& attention_memory() const { return attention_memory_; }
  // i32 [context]: 0, 1, 2, ...
  const TensorView& positions() const { return positions_; }

  // Queues the pass through all layers.
  void Run(const Pass& pass);
  // The same for rows on the device. REQUIRES: the embedding is there; `linears` stream nothing.
  void Run(const DeviceRows& rows, LinearLayers& linears);

  // Queues the logits of rows [first, first + rows) of the latest pass: f32 [rows, vocab], until the next call.
  // REQUIRES: 1 <= rows <= kLogitsRows.
  TensorView Logits(int64_t first, int64_t rows) { return Logits(state_.hidden, first, rows); }

  // The parts of a pass, for layer-major prefill, which keeps hidden states elsewhere: activations for `rows` rows with
  // `hidden` (f32 [rows, hidden]) in the place of the hidden state's; RoPE's tables for their positions (`base`, i64
  // [1] on the device, is added); the embedding of their tokens; logits of some of a block's rows.
  LlamaState StateFor(const TensorView& hidden) const;
  void Position(int64_t first_position, const LlamaState& state, const TensorView& base = {});
  void Embed(std::span<const TokenId> tokens, const LlamaState& state);
  void Layer(int64_t layer, const LlamaState& state, LinearLayers& linears, AttentionCache& cache);
  TensorView Logits(const TensorView& hidden, int64_t first, int64_t rows);
  // One of two places for a block's hidden states, f32 [max_rows, hidden].
  const TensorView& hidden_block(int64_t i) const { return i % 2 == 0 ? state_.hidden : second_hidden_; }

 private:
  void Cut(Arena& arena);

  Lane& lane_;
  const ModelConfig& config_;
  const Weights& weights_;
  const Plan& plan_;
  TransferCounters& counters_;
  Arena arena_;
  LlamaState state_;
  TensorView second_hidden_;   // f32 [max_rows, hidden]
  TensorView ids_;             // i32 [max_rows]
  TensorView positions_;       // i32 [context]: 0, 1, 2, ...
  TensorView logits_;          // f32 [kLogitsRows, vocab]
  TensorView embedding_rows_;  // [max_rows, hidden], where the embedding is on the host
  AttentionMemory attention_memory_;
  std::span<std::byte> host_embedding_rows_;      // what goes to embedding_rows_
  std::unique_ptr<Event> embedding_rows_copied_;  // from there
};

}  // namespace triforce
