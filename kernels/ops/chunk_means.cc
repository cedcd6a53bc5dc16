#include "kernels/ops/chunk_means.h"

#include <algorithm>

#include "kernels/core/cpu_lane.h"
#include "kernels/core/cuda_lane.h"

namespace triforce {

[[gnu::weak]] void ChunkMeansCuda(CudaLane& lane, const ChunkMeansArgs& args);  // chunk_means_cuda.cu

namespace {

void Check(const ChunkMeansArgs& args) {
  CheckKvView(args.kv);
  const TensorView& means = args.means;
  TF_CHECK(args.chunk_tokens >= kKeyTile && args.chunk_tokens % kKeyTile == 0 && kKvBlock % args.chunk_tokens == 0,
           "chunks of {}", args.chunk_tokens);
  TF_CHECK(args.kv.first_entry % args.kv.kv_heads == 0 && args.first <= args.end &&
               (args.first == args.end || (args.first * args.chunk_tokens >= args.kv.first_position() &&
                                           args.end * args.chunk_tokens <= args.kv.end_position())),
           "chunks {} to {} of {}", args.first, args.end, args.kv.blocks.ToString());
  TF_CHECK(means.rank() == 3 && means.dense() && IsFloat(means.dtype()) && means.dim(0) == args.kv.kv_heads &&
               means.dim(1) >= args.end && means.dim(2) == args.kv.head_dim(),
           "{}", means.ToString());
}

// The mean key of one chunk.
template <typename Sum, typename T, typename M>
void MeanOfChunk(const ChunkMeansArgs& args, int64_t kv_head, int64_t chunk, M* to) {
  const int64_t head_dim = args.kv.head_dim(), position = chunk * args.chunk_tokens;
  for (int64_t i = 0; i < head_dim; ++i) {
    Sum sum = 0;
    for (int64_t token = 0; token < args.chunk_tokens; ++token) {
      const T* const tile = KeyTileAt<T>(args.kv, kv_head, position + token);
      sum += static_cast<Sum>(ToF32(tile[KeyElement(token, i)]));
    }
    to[i] = FromF32<M>(static_cast<float>(sum / static_cast<Sum>(args.chunk_tokens)));
  }
}

// Chunks [first, end) of one kv_head.
template <typename Sum>
void Means(const ChunkMeansArgs& args, int64_t kv_head, int64_t first, int64_t end) {
  const int64_t head_dim = args.kv.head_dim();
  WithFloatType(args.kv.dtype(), [&]<typename T>(T) {
    WithFloatType(args.means.dtype(), [&]<typename M>(M) {
      M* const to = args.means.as<M>() + kv_head * args.means.stride(0);
      for (int64_t chunk = first; chunk < end; ++chunk) {
        MeanOfChunk<Sum, T>(args, kv_head, chunk, to + chunk * head_dim);
      }
    });
  });
}

constexpr int64_t kChunksPerItem = 64;

}  // namespace

void ChunkMeans(Lane& lane, const ChunkMeansArgs& args) {
  Check(args);
  if (CudaLane* const cuda = AsCuda(lane)) return ChunkMeansCuda(*cuda, args);
  AsCpu(lane).Run("chunk_means", [args](Team& team) {
    const int64_t items = (args.end - args.first + kChunksPerItem - 1) / kChunksPerItem;
    team.For(items * args.kv.kv_heads, [&](Worker&, int64_t item) {
      const int64_t first = args.first + item / args.kv.kv_heads * kChunksPerItem;
      Means<float>(args, item % args.kv.kv_heads, first, std::min(first + kChunksPerItem, args.end));
    });
  });
}

void ChunkMeansReference(const ChunkMeansArgs& args) {
  Check(args);
  for (int64_t kv_head = 0; kv_head < args.kv.kv_heads; ++kv_head) Means<double>(args, kv_head, args.first, args.end);
}

}  // namespace triforce
