#include "kernels/ops/chunk_means.h"

#include "kernels/core/cpu_lane.h"

namespace triforce {
namespace {

constexpr int64_t kChunksPerBlock = kKvBlock / kKeyTile;

void Check(const ChunkMeansArgs& args) {
  CheckKvView(args.kv);
  const TensorView& means = args.means;
  TF_CHECK(args.kv.first_entry % args.kv.kv_heads == 0 && args.chunks >= 0 &&
               args.chunks * kKeyTile <= args.kv.end_position() - args.kv.first_position(),
           "{} chunks of {}", args.chunks, args.kv.blocks.ToString());
  TF_CHECK(means.rank() == 3 && means.dense() && means.dtype() != DType::kI32 && means.dim(0) == args.kv.kv_heads &&
               means.dim(1) >= args.chunks && means.dim(2) == args.kv.head_dim(),
           "{}", means.ToString());
}

// The sum over the keys of a tile, element by element.
template <typename Sum, typename T, typename Take>
void SumTile(const T* tile, int64_t head_dim, const Take& take) {
  for (int64_t i = 0; i < head_dim; i += 2) {
    Sum sums[2] = {0, 0};
    for (int64_t token = 0; token < kKeyTile; ++token) {
      sums[0] += static_cast<Sum>(ToF32(tile[KeyElement(token, i)]));
      sums[1] += static_cast<Sum>(ToF32(tile[KeyElement(token, i + 1)]));
    }
    take(i, sums[0] / static_cast<Sum>(kKeyTile));
    take(i + 1, sums[1] / static_cast<Sum>(kKeyTile));
  }
}

// Chunks [first, end) of one kv_head.
template <typename Sum>
void Means(const ChunkMeansArgs& args, int64_t kv_head, int64_t first, int64_t end) {
  const int64_t head_dim = args.kv.head_dim();
  WithFloatType(args.kv.dtype(), [&]<typename T>(T) {
    WithFloatType(args.means.dtype(), [&]<typename M>(M) {
      for (int64_t chunk = first; chunk < end; ++chunk) {
        const T* tile = KeyTileAt<T>(args.kv, kv_head, args.kv.first_position() + chunk * kKeyTile);
        M* to = args.means.as<M>() + kv_head * args.means.stride(0) + chunk * head_dim;
        SumTile<Sum>(tile, head_dim, [to](int64_t i, Sum mean) { to[i] = FromF32<M>(static_cast<float>(mean)); });
      }
    });
  });
}

}  // namespace

void ChunkMeans(Lane& lane, const ChunkMeansArgs& args) {
  Check(args);
  AsCpu(lane).Run("chunk_means", [args](Team& team) {
    const int64_t blocks = KvBlocks(args.chunks * kKeyTile);
    team.For(blocks * args.kv.kv_heads, [&](Worker&, int64_t item) {
      const int64_t first = item / args.kv.kv_heads * kChunksPerBlock;
      Means<float>(args, item % args.kv.kv_heads, first, std::min(first + kChunksPerBlock, args.chunks));
    });
  });
}

void ChunkMeansReference(const ChunkMeansArgs& args) {
  Check(args);
  for (int64_t kv_head = 0; kv_head < args.kv.kv_heads; ++kv_head) Means<double>(args, kv_head, 0, args.chunks);
}

}  // namespace triforce
