// A model's weights into the places that the plan has for them, packed as the ops want them.
#pragma once

#include <functional>
#include <memory>
#include <span>

#include "kernels/core/arena.h"
#include "kernels/core/device.h"
#include "kernels/core/lane.h"
#include "models/llama.h"
#include "offload/plan.h"
#include "offload/weight_store.h"
#include "runtime/weight_source.h"

namespace triforce {

// The tiers that weights are put into.
struct WeightTiers {
  Device& device;
  HostPool& host;
  DiskTier* disk = nullptr;  // null where the plan has nothing on disk
};

// A model's weights. Linear layers have their resident panels in `llama`, the others in `store`.
class Weights {
 public:
  // Takes memory and fills it. `progress` is called with bytes read so far, and may throw to stop. `plan` outlives
  // this; `source` need not. Throws Error: kOutOfMemory; kInvalidInput, kUnsupported where a tensor is missing or is
  // not as the model's config has it; kIo.
  Weights(const WeightSource& source, const Plan& plan, const WeightTiers& tiers, Lane& lane,
          const std::function<void(int64_t bytes)>& progress);

  const LlamaWeights& llama() const { return llama_; }
  const WeightStore& store() const { return store_; }
  // [vocab, hidden] rows on the host, where the embedding is not on the device; otherwise empty.
  std::span<const std::byte> host_embedding() const { return host_embedding_; }

 private:
  void Cut(const WeightSource& source, const Plan& plan, Arena& arena);

  WeightStore store_;
  Arena arena_;
  LlamaWeights llama_;
  std::span<std::byte> host_embedding_;
};

}  // namespace triforce
