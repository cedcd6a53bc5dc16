#include "tools/context_limit.h"

#include <fmt/core.h>

#include "kernels/core/error.h"
#include "tools/standard_streams.h"

namespace triforce {

std::string DescribeScaling(const RopeConfig& rope) {
  return rope.type == RopeType::kDefault ? "RoPE is not scaled"
                                         : fmt::format("RoPE is scaled, {} by {:g}", Name(rope.type), rope.factor);
}

void ObeyContext(const ModelSource& model, int64_t context_tokens, ModelShape& shape) {
  if (context_tokens <= shape.max_positions || model.random()) return;
  if (context_tokens > kMaxContextTokens) {
    throw Error(ErrorKind::kUsage, "--ctx-size",
                fmt::format("found {}, expected at most {}", context_tokens, kMaxContextTokens));
  }
  Say("a context of {} tokens, as asked for, is more than max_position_embeddings, {}; {}: some models are "
      "published with the length before scaling, others are not made for more\n",
      context_tokens, shape.max_positions, DescribeScaling(ReadModelConfig(model).rope));
  shape.max_positions = context_tokens;
}

}  // namespace triforce
