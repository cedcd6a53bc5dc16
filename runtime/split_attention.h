// SplitAttention: the attention of a pass that has rows of several sequences: each sequence's rows attend to its own
// cache.
#pragma once

#include <cstdint>
#include <span>

#include "models/llama.h"
#include "models/token_id.h"

namespace triforce {

// Consecutive tokens of a sequence in a pass.
struct PassRows {
  std::span<const TokenId> tokens;  // read when the lane comes to it: they must stay where they are until then
  int64_t first_position = 0;
  AttentionCache* cache = nullptr;

  int64_t rows() const { return static_cast<int64_t>(tokens.size()); }
};

class SplitAttention final : public AttentionCache {
 public:
  // `parts` and their caches outlive this.
  explicit SplitAttention(std::span<const PassRows> parts) : parts_(parts) {}

  void Attend(Lane& lane, const LayerAttention& a) override {
    int64_t first = 0;
    for (const PassRows& part : parts_) {
      const auto of_part = [&](const TensorView& t) { return t.Slice(0, first, first + part.rows()); };
      part.cache->Attend(lane, {a.layer, of_part(a.q), of_part(a.k), of_part(a.v), of_part(a.out)});
      first += part.rows();
    }
  }

 private:
  const std::span<const PassRows> parts_;
};

}  // namespace triforce
