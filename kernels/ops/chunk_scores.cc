#include "kernels/ops/chunk_scores.h"

#include <algorithm>
#include <limits>

#include "kernels/core/cpu_lane.h"

namespace triforce {
namespace {

constexpr int64_t kChunksPerItem = 256;

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

template <typename Sum>
void Scores(const ChunkScoresArgs& args, int64_t kv_head, int64_t first, int64_t end) {
  const int64_t head_dim = args.q.dim(1), group = args.q.dim(0) / args.means.dim(0);
  WithFloatType(args.means.dtype(), [&]<typename T>(T) {
    for (int64_t chunk = first; chunk < end; ++chunk) {
      const T* mean = args.means.as<T>() + kv_head * args.means.stride(0) + chunk * head_dim;
      Sum best = -std::numeric_limits<Sum>::infinity();
      for (int64_t head = kv_head * group; head < (kv_head + 1) * group; ++head) {
        const float* q = args.q.as<float>() + head * head_dim;
        Sum sum = 0;
        for (int64_t i = 0; i < head_dim; ++i) sum += static_cast<Sum>(q[i]) * static_cast<Sum>(ToF32(mean[i]));
        best = std::max(best, sum);
      }
      args.scores.as<float>()[kv_head * args.scores.stride(0) + chunk] = static_cast<float>(best);
    }
  });
}

}  // namespace

void ChunkScores(Lane& lane, const ChunkScoresArgs& args) {
  Check(args);
  AsCpu(lane).Run("chunk_scores", [args](Team& team) {
    const int64_t items = (args.chunks + kChunksPerItem - 1) / kChunksPerItem;
    team.For(items * args.means.dim(0), [&](Worker&, int64_t item) {
      const int64_t first = item % items * kChunksPerItem;
      Scores<float>(args, item / items, first, std::min(first + kChunksPerItem, args.chunks));
    });
  });
}

void ChunkScoresReference(const ChunkScoresArgs& args) {
  Check(args);
  for (int64_t kv_head = 0; kv_head < args.means.dim(0); ++kv_head) Scores<double>(args, kv_head, 0, args.chunks);
}

}  // namespace triforce
