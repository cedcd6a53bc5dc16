// The plan's view of a model: ModelShape from config.json, and from the checkpoint's types where there is one.
#pragma once

#include "models/checkpoint.h"
#include "models/config.h"
#include "offload/model_shape.h"

namespace triforce {

// All weights taken to be f16.
ModelShape ShapeOf(const ModelConfig& config);

// A model of that shape, as far as a shape says; without ids that end a text. RoPE by the theta of Llama 2 or, where
// the vocabulary is larger than its, of Llama 3, and not scaled.
ModelConfig ConfigOf(const ModelShape& shape);

// Throws Error: kInvalidInput where a tensor is missing or has another shape than `config` says; kUnsupported where the
// layers' linear weights are not all of one type.
ModelShape ShapeOf(const ModelConfig& config, const Checkpoint& checkpoint);

}  // namespace triforce
