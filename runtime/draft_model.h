// DraftModel: a small model on the target's device, whole, and its passes over a streaming cache.
//
// Made by the Engine; one for all sequences. Not thread-safe. The lane outlives it.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>

#include "kernels/core/lane.h"
#include "models/config.h"
#include "models/token_id.h"
#include "offload/host_pool.h"
#include "offload/plan.h"
#include "offload/transfer_counters.h"
#include "runtime/forward.h"
#include "runtime/linears.h"
#include "runtime/load_weights.h"
#include "runtime/streaming_cache.h"

namespace triforce {

// What a sequence wants of a draft's pass: its next tokens taken into its cache, and the logits behind the last `rows`
// of them.
struct DraftRequest {
  StreamingCache* cache = nullptr;
  std::span<const TokenId> tokens;
  int64_t rows = 1;
};

class DraftModel {
 public:
  // Tokens that a request may have besides those whose logits are wanted, to be taken in in the common pass: a draft
  // that has been told of accepted tokens is a token or two behind.
  static constexpr int64_t kCaughtUp = 3;

  // `input`: the target's plan input, whose draft this is. `progress` as in Weights. Throws Error.
  DraftModel(const WeightSource& source, const PlanInput& input, Lane& lane,
             const std::function<void(int64_t bytes)>& progress);

  const ModelConfig& config() const { return config_; }
  // Whether RunOnDevice can be captured.
  bool captures() const { return lane_.captures() && plan_.embedding_on_device; }
  std::unique_ptr<StreamingCache> NewCache() const;

  // Queues one pass for several sequences, each of which gets the bits that it would get alone: their tokens into
  // their caches, behind those that these have, and what comes before the last kDraftRows of them in passes of its own.
  // Gives logits request by request: f32 [rows, vocab], until the next call; of all requests together f32 [sum of rows,
  // vocab]. The lane reads tokens when it comes to them. REQUIRES: each cache once; 1 <= rows <= tokens; all that is
  // left for the common pass, at most kDraftRows rows.
  TensorView Run(std::span<const DraftRequest> requests);
  // For one sequence.
  TensorView Run(std::span<const TokenId> tokens, int64_t rows, StreamingCache& cache);
  // The same without logits. Waits for the lane.
  void TakeIn(std::span<const TokenId> tokens, StreamingCache& cache);
  // And without waiting: the lane reads tokens when it comes to them.
  void QueueTakingIn(std::span<const TokenId> tokens, StreamingCache& cache) { RunPasses(tokens, cache); }

  // Queues a pass that is captured, over tokens on the device (i32 [rows]), of which the first one stands `offset`
  // behind where `base` says (StreamingCache::BeginCaptured). Gives the logits behind the last one: f32 [1, vocab].
  TensorView RunOnDevice(const TensorView& tokens, const TensorView& base, int64_t offset, StreamingCache& cache);

 private:
  void RunPasses(std::span<const TokenId> tokens, StreamingCache& cache);
  void RunPass(std::span<const PassRows> parts);

  Lane& lane_;
  const ModelConfig config_;
  const PlanInput input_;
  const Plan plan_;
  HostPool no_host_;
  TransferCounters no_transfers_;
  Weights weights_;
  Forward forward_;
  StreamedLinears linears_;
  std::vector<PassRows> parts_;  // of a pass that is being queued; its memory is reserved once
};

// Throws Error (kUsage) where `draft` has another vocabulary than `target`: another number of tokens, or, where both
// have one, another tokenizer.
void CheckSameVocabulary(const ModelSource& target, const ModelSource& draft);

}  // namespace triforce
