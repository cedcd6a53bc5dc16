#include "kernels/ops/chunk_permute.h"

#include <algorithm>

#include "kernels/core/cpu_lane.h"
#include "kernels/core/cuda_lane.h"

namespace triforce {

[[gnu::weak]] void ChunkPermuteCuda(CudaLane& lane, const ChunkPermuteArgs& args);  // chunk_permute_cuda.cu

namespace {

constexpr int64_t kChunksPerItem = 256;

void Check(const ChunkPermuteArgs& args) {
  for (const TensorView& t : {args.from, args.to}) {
    TF_CHECK(t.rank() == 3 && t.dense() && t.dim(0) == args.order.dim(0) && t.dim(1) >= args.chunks &&
                 t.dim(2) == args.from.dim(2),
             "{}", t.ToString());
  }
  TF_CHECK(args.from.dtype() == DType::kF32 && IsFloat(args.to.dtype()) && args.order.rank() == 2 &&
               args.order.dtype() == DType::kI32 && args.order.dense() && args.order.dim(1) >= args.chunks,
           "from {}, order {}", args.from.ToString(), args.order.ToString());
}

template <typename T>
void Permute(const ChunkPermuteArgs& args, int64_t kv_head, int64_t first, int64_t end) {
  const int64_t head_dim = args.from.dim(2);
  const float* const from = args.from.as<float>() + kv_head * args.from.stride(0);
  T* const to = args.to.as<T>() + kv_head * args.to.stride(0);
  const int32_t* const order = args.order.as<int32_t>() + kv_head * args.order.stride(0);
  for (int64_t i = first; i < end; ++i) {
    TF_CHECK(order[i] >= 0 && order[i] < args.chunks, "chunk {} of {}", order[i], args.chunks);
    const float* const mean = from + order[i] * head_dim;
    std::transform(mean, mean + head_dim, to + i * head_dim, [](float x) { return FromF32<T>(x); });
  }
}

}  // namespace

// Once a prompt.
void ChunkPermute(Lane& lane, const ChunkPermuteArgs& args) {
  Check(args);
  if (CudaLane* const cuda = AsCuda(lane)) return ChunkPermuteCuda(*cuda, args);
  AsCpu(lane).Run("chunk_permute", [args](Team& team) {
    const int64_t items = (args.chunks + kChunksPerItem - 1) / kChunksPerItem;
    team.For(items * args.from.dim(0), [&](Worker&, int64_t item) {
      const int64_t first = item % items * kChunksPerItem;
      WithFloatType(args.to.dtype(), [&]<typename T>(T) {
        Permute<T>(args, item / items, first, std::min(first + kChunksPerItem, args.chunks));
      });
    });
  });
}

}  // namespace triforce
