// The plan's view of a model: ModelShape from config.json, and from the checkpoint's types where there is one.
#pragma once

#include "models/checkpoint.h"
#include "models/config.h"
#include "offload/model_shape.h"

namespace triforce {

// All weights taken to be f16.
ModelShape ShapeOf(const ModelConfig& config);

// Throws Error: kInvalidInput where a tensor is missing or has another shape than `config` says; kUnsupported where the
// layers' linear weights are not all of one type.
ModelShape ShapeOf(const ModelConfig& config, const Checkpoint& checkpoint);

}  // namespace triforce
