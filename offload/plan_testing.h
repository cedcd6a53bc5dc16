// Plan inputs that tests share.
#pragma once

#include <cstdint>

#include "offload/plan.h"

namespace triforce {

// A named shape on an RTX 4090 with as much host memory, 256 tokens of the context being output.
inline PlanInput On4090(const char* shape, int64_t context_tokens, int64_t host_bytes) {
  return {.shape = *NamedShape(shape),
          .context_tokens = context_tokens,
          .predict_tokens = 256,
          .cpu_device = false,
          .device_bytes = int64_t{24} << 30,
          .host_bytes = host_bytes,
          .rates = AssumedRtx4090Rates()};
}

// Llama2-7B with its published draft behind 120,000 tokens, a GiB of the card being somebody else's.
inline PlanInput SpeculatingOn4090() {
  PlanInput input = On4090("llama2-7b", 120000, int64_t{128} << 30);
  input.draft = DraftInput{.shape = *NamedShape("llama-68m")};
  input.device_bytes = int64_t{23} << 30;
  return input;
}

}  // namespace triforce
