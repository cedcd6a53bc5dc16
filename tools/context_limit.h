// What happens where a longer context is asked for than a model's max_position_embeddings.
//
// Published files do not agree on what that field counts: YaRN checkpoints have the length after scaling there,
// vicuna-v1.5-16k has 4,096 and linear scaling by 4. So it limits what nobody asked for, and no more.
#pragma once

#include <cstdint>
#include <string>

#include "models/config.h"
#include "offload/model_shape.h"
#include "runtime/weight_source.h"

namespace triforce {

// The longest context that can be asked for.
inline constexpr int64_t kMaxContextTokens = int64_t{1} << 30;

// "RoPE is scaled, linear by 4", "RoPE is not scaled".
std::string DescribeScaling(const RopeConfig& rope);

// Where `context_tokens`, as asked for, passes what `shape` of `model` has positions for: raises those, so that it can
// be planned, and says so in one line on stderr. A shape without files stays as it is: nothing is published of it that
// might be wrong. Throws Error (kUsage) beyond kMaxContextTokens.
void ObeyContext(const ModelSource& model, int64_t context_tokens, ModelShape& shape);

}  // namespace triforce
