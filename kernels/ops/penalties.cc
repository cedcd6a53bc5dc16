#include "kernels/ops/penalties.h"

#include "kernels/core/cpu_lane.h"
#include "kernels/core/cuda_lane.h"

namespace triforce {

[[gnu::weak]] void PenaltiesCuda(CudaLane& lane, const PenaltiesArgs& args);  // penalties_cuda.cu

namespace {

void Check(const PenaltiesArgs& args) {
  TF_CHECK(args.logits.rank() == 1 && args.logits.dtype() == DType::kF32 && args.logits.dense(), "{}",
           args.logits.ToString());
  for (const TensorView& t : {args.tokens, args.output_counts}) {
    TF_CHECK(t.rank() == 1 && t.dtype() == DType::kI32 && t.dense() && t.dim(0) == args.tokens.dim(0), "{}",
             t.ToString());
  }
}

}  // namespace

// A few thousand scattered tokens at most: the plain version is the fast one.
void Penalties(Lane& lane, const PenaltiesArgs& args) {
  Check(args);
  if (CudaLane* const cuda = AsCuda(lane)) return PenaltiesCuda(*cuda, args);
  AsCpu(lane).Run("penalties", [args](Team&) {
    for (int64_t i = 0; i < args.tokens.dim(0); ++i) {
      const int64_t token = args.tokens.as<int32_t>()[i];
      const int32_t count = args.output_counts.as<int32_t>()[i];
      TF_CHECK(token >= 0 && token < args.logits.dim(0), "token {} of {}", token, args.logits.dim(0));
      float& logit = args.logits.as<float>()[token];
      logit = logit > 0 ? logit / args.repetition : logit * args.repetition;
      logit -= args.frequency * static_cast<float>(count) + (count > 0 ? args.presence : 0.0f);
    }
  });
}

}  // namespace triforce
