#include "kernels/ops/chunk_scores.h"

#include <algorithm>
#include <limits>

#include "kernels/core/cpu_lane.h"
#include "kernels/core/cuda_lane.h"

namespace triforce {

void ChunkScoresCpu(Team& team, const ChunkScoresArgs& args);                     // chunk_scores_cpu.cc
[[gnu::weak]] void ChunkScoresCuda(CudaLane& lane, const ChunkScoresArgs& args);  // chunk_scores_cuda.cu

namespace {

void Check(const ChunkScoresArgs& args) {
  TF_CHECK(args.q.rank() == 2 && args.q.dtype() == DType::kF32 && args.q.dense() && args.means.rank() == 3 &&
               args.means.dense() && IsFloat(args.means.dtype()) && args.q.dim(1) == args.means.dim(2) &&
               args.q.dim(0) % args.means.dim(0) == 0,
           "q {}, means {}", args.q.ToString(), args.means.ToString());
  TF_CHECK(args.scores.rank() == 2 && args.scores.dtype() == DType::kF32 && args.scores.dense() &&
               args.scores.dim(0) == args.means.dim(0) && args.chunks >= 0 && args.chunks <= args.means.dim(1) &&
               args.chunks <= args.scores.dim(1),
           "scores {}, {} chunks", args.scores.ToString(), args.chunks);
}

}  // namespace

void ChunkScores(Lane& lane, const ChunkScoresArgs& args) {
  Check(args);
  if (CudaLane* const cuda = AsCuda(lane)) return ChunkScoresCuda(*cuda, args);
  AsCpu(lane).Run("chunk_scores", [args](Team& team) { ChunkScoresCpu(team, args); });
}

void ChunkScoresReference(const ChunkScoresArgs& args) {
  Check(args);
  const int64_t kv_heads = args.means.dim(0), head_dim = args.q.dim(1), group = args.q.dim(0) / kv_heads;
  WithFloatType(args.means.dtype(), [&]<typename T>(T) {
    for (int64_t i = 0; i < kv_heads * args.chunks; ++i) {
      const int64_t kv_head = i / args.chunks, chunk = i % args.chunks;
      const T* const mean = args.means.as<T>() + kv_head * args.means.stride(0) + chunk * head_dim;
      double best = -std::numeric_limits<double>::infinity();
      for (int64_t head = kv_head * group; head < (kv_head + 1) * group; ++head) {
        const float* const q = args.q.as<float>() + head * head_dim;
        double sum = 0;
        for (int64_t e = 0; e < head_dim; ++e) sum += static_cast<double>(q[e]) * ToF32(mean[e]);
        best = std::max(best, sum);
      }
      args.scores.as<float>()[kv_head * args.scores.stride(0) + chunk] = static_cast<float>(best);
    }
  });
}

}  // namespace triforce
