// Prefill: a prompt through a model, layer by layer: all of its tokens go through one layer before the next, so that
// each weight and each byte of KV crosses the link once.
//
// The hidden states of the whole prompt stay on the device, or lie on the host and come and go in blocks of rows while
// others are worked on, as the plan says.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <stop_token>

#include "kernels/core/buffer.h"
#include "kernels/core/lane.h"
#include "models/token_id.h"
#include "offload/kv_store.h"
#include "runtime/forward.h"
#include "runtime/linears.h"
#include "runtime/prefill_cache.h"

namespace triforce {

struct Prompt {
  std::span<const TokenId> tokens;
  KvStore& store;                   // what it held is forgotten
  Ring* ring = nullptr;             // without a schedule; null where nothing is streamed
  RetrievalIndex* index = nullptr;  // of the store; null where there is none
  // Called with rows done in one layer or another, of tokens * layers.
  std::function<void(int64_t done, int64_t total)> progress = {};
  std::stop_token stop = {};
  // Called with the hidden states behind the last layer, f32 [rows, hidden], block by block, while their work is
  // queued.
  std::function<void(const TensorView& hidden, int64_t first)> take = {};
};

class Prefill {
 public:
  // Throws Error (kOutOfMemory).
  Prefill(const ForwardContext& context, Forward& forward, Link& link);

  // Runs the prompt, waiting for its work but the last block's. False where `stop` was requested: then the store holds
  // nothing.
  bool Run(const Prompt& prompt);

 private:
  bool RunLayer(const Prompt& prompt, int64_t layer);
  // The hidden states of a block, on the device once `compute` comes to work queued behind this.
  TensorView HiddenOf(int64_t block, int64_t rows);
  Transfer SpilledAt(int64_t block, int64_t bytes) const;
  void Fetch(const Prompt& prompt, int64_t block);  // from the host
  void Spill(int64_t block, int64_t rows);          // to it
  int64_t RowsOf(const Prompt& prompt, int64_t block) const;

  ForwardContext context_;
  Forward& forward_;
  Link& link_;
  PrefillLinears linears_;
  PrefillCache cache_;
  Buffer device_hidden_;                            // f32 [context, hidden], where the plan keeps them there
  std::span<std::byte> host_hidden_;                // the same on the host otherwise
  std::array<std::unique_ptr<Event>, 2> fetched_;   // of Forward::hidden_block: of the copy lane
  std::array<std::unique_ptr<Event>, 2> computed_;  // of the computing lane
};

}  // namespace triforce
