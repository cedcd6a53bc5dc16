// Weights from a checkpoint's files into a device's memory, packed as the ops want them.
#pragma once

#include <functional>

#include "kernels/core/arena.h"
#include "kernels/core/lane.h"
#include "models/checkpoint.h"
#include "models/config.h"
#include "models/llama.h"

namespace triforce {

// Cuts all weights of the model from `arena`, which may be a measuring one; types are those of the checkpoint's
// tensors. Throws Error (kInvalidInput, kUnsupported) where a tensor is missing or is not as `config` has it.
LlamaWeights CutWeights(const ModelConfig& config, const Checkpoint& checkpoint, Arena& arena);

// Fills what CutWeights has cut. `progress` is called with bytes read so far, and may throw to stop.
void FillWeights(const ModelConfig& config, const Checkpoint& checkpoint, Lane& lane, const LlamaWeights& weights,
                 const std::function<void(int64_t bytes)>& progress);

}  // namespace triforce
