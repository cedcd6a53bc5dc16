#include "runtime/penaliser.h"

#include "kernels/ops/penalties.h"

namespace triforce {

Penaliser::Penaliser(Lane& lane, int64_t vocab, const SamplingOptions& options) : lane_(lane), options_(options) {
  const auto cut = [&](Arena& arena) {
    seen_ = arena.Cut(DType::kI32, {vocab});
    counts_ = arena.Cut(DType::kI32, {vocab});
  };
  Arena sizes;
  cut(sizes);
  arena_ = Arena(lane.device(), sizes.used_bytes(), "penalties");
  cut(arena_);
}

void Penaliser::Apply(const TensorView& logits, const TokenHistory& history) {
  const int64_t n = static_cast<int64_t>(history.tokens().size());
  if (n == 0 || !options_.penalises()) return;
  const TensorView seen = seen_.Slice(0, 0, n), counts = counts_.Slice(0, 0, n);
  lane_.Copy(seen.data(), history.tokens().data(), seen.bytes(), "history");
  lane_.Copy(counts.data(), history.output_counts().data(), counts.bytes(), "history");
  Penalties(lane_, {.logits = logits.Reshape({logits.dim(1)}),
                    .tokens = seen,
                    .output_counts = counts,
                    .repetition = options_.repetition_penalty,
                    .frequency = options_.frequency_penalty,
                    .presence = options_.presence_penalty});
}

}  // namespace triforce
