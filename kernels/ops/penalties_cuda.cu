// Penalties on CUDA: a thread a token.
#include "kernels/core/gpu_launch.h"
#include "kernels/ops/penalties.h"

namespace triforce {
namespace {

constexpr int kThreads = 128;

struct Penalised {
  float* logits;  // [vocab]
  int64_t vocab;
  const int32_t* tokens;  // [count]
  const int32_t* output_counts;
  int64_t count;
  float repetition, frequency, presence;
};

TF_KERNEL(kThreads) PenaltiesKernel(Penalised p) {
  const int64_t i = gpu::BlockX() * kThreads + gpu::ThreadIndex();
  if (i >= p.count) return;
  const int64_t token = p.tokens[i];
  const int32_t count = p.output_counts[i];
  if (token < 0 || token >= p.vocab) gpu::Trap("penalties: a token outside the vocabulary");
  float logit = p.logits[token];
  logit = logit > 0 ? logit / p.repetition : logit * p.repetition;
  p.logits[token] = logit - (p.frequency * static_cast<float>(count) + (count > 0 ? p.presence : 0.0f));
}

}  // namespace

void PenaltiesCuda(CudaLane& lane, const PenaltiesArgs& args) {
  const int64_t count = args.tokens.dim(0);
  Launch<PenaltiesKernel>(lane, "penalties", {.x = (count + kThreads - 1) / kThreads, .threads = kThreads},
                          Penalised{.logits = args.logits.as<float>(),
                                    .vocab = args.logits.dim(0),
                                    .tokens = args.tokens.as<int32_t>(),
                                    .output_counts = args.output_counts.as<int32_t>(),
                                    .count = count,
                                    .repetition = args.repetition,
                                    .frequency = args.frequency,
                                    .presence = args.presence});
}

}  // namespace triforce
