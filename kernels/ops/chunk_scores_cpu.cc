// ChunkScores on the CPU: lanes over head_dim, in sixteen partial sums whatever the vectors' width.
#include <algorithm>
#include <limits>

#include "kernels/core/team.h"
#include "kernels/ops/chunk_scores.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/ops/chunk_scores_cpu.cc"
#include <hwy/foreach_target.h>
// After foreach_target.h:
#include "kernels/ops/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace triforce {
namespace HWY_NAMESPACE {
namespace {

constexpr int64_t kChunksPerItem = 256;

template <typename T>
void Scores(const ChunkScoresArgs& args, int64_t kv_head, int64_t first, int64_t end) {
  const int64_t head_dim = args.q.dim(1), group = args.q.dim(0) / args.means.dim(0);
  const T* const means = args.means.as<T>() + kv_head * args.means.stride(0);
  float* const scores = args.scores.as<float>() + kv_head * args.scores.stride(0);
  for (int64_t chunk = first; chunk < end; ++chunk) {
    float best = -std::numeric_limits<float>::infinity();
    for (int64_t head = kv_head * group; head < (kv_head + 1) * group; ++head) {
      best = std::max(best, DotProduct(args.q.as<float>() + head * head_dim, means + chunk * head_dim, head_dim));
    }
    scores[chunk] = best;
  }
}

void ChunkScoresImpl(Team& team, const ChunkScoresArgs& args) {
  const int64_t items = (args.chunks + kChunksPerItem - 1) / kChunksPerItem;
  team.For(items * args.means.dim(0), [&](Worker&, int64_t item) {
    const int64_t first = item % items * kChunksPerItem;
    WithFloatType(args.means.dtype(), [&]<typename T>(T) {
      Scores<T>(args, item / items, first, std::min(first + kChunksPerItem, args.chunks));
    });
  });
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace triforce
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace triforce {

HWY_EXPORT(ChunkScoresImpl);

void ChunkScoresCpu(Team& team, const ChunkScoresArgs& args) { HWY_DYNAMIC_DISPATCH(ChunkScoresImpl)(team, args); }

}  // namespace triforce
#endif  // HWY_ONCE
