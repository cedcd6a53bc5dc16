#include "kernels/ops/chunk_ranking.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "kernels/core/cpu_lane.h"
#include "kernels/core/cuda_lane.h"

namespace triforce {

[[gnu::weak]] void ChunkRankingCuda(CudaLane& lane, const ChunkRankingArgs& args);  // chunk_ranking_cuda.cu

namespace {

void Check(const ChunkRankingArgs& args) {
  TF_CHECK(args.scores.rank() == 2 && args.scores.dtype() == DType::kF32 && args.scores.dense() &&
               args.order.rank() == 2 && args.order.dtype() == DType::kI32 && args.order.dense() &&
               args.order.dim(0) == args.scores.dim(0),
           "scores {}, order {}", args.scores.ToString(), args.order.ToString());
  TF_CHECK(args.chunks >= 0 && args.chunks <= args.scores.dim(1) && args.chunks <= args.order.dim(1), "{} chunks",
           args.chunks);
}

}  // namespace

// Once a prompt: a library's sort, a kv_head per item.
void ChunkRanking(Lane& lane, const ChunkRankingArgs& args) {
  Check(args);
  if (CudaLane* const cuda = AsCuda(lane)) return ChunkRankingCuda(*cuda, args);
  AsCpu(lane).Run("chunk_ranking", [args](Team& team) {
    team.For(args.order.dim(0), [&](Worker&, int64_t kv_head) {
      const float* scores = args.scores.as<float>() + kv_head * args.scores.stride(0);
      int32_t* order = args.order.as<int32_t>() + kv_head * args.order.stride(0);
      std::iota(order, order + args.order.dim(1), 0);
      std::sort(order, order + args.chunks, [scores](int32_t a, int32_t b) {
        const bool a_nan = std::isnan(scores[a]), b_nan = std::isnan(scores[b]);
        if (a_nan || b_nan) return a_nan == b_nan ? a < b : b_nan;
        return scores[a] != scores[b] ? scores[a] > scores[b] : a < b;
      });
    });
  });
}

}  // namespace triforce
