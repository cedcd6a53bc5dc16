// ChunkMeans on CUDA: a thread for two elements of a chunk's mean, which lie side by side in a tile of keys, token
// after token.
#include <cstdint>

#include "kernels/core/gpu_launch.h"
#include "kernels/ops/chunk_means.h"
#include "kernels/ops/eight_floats.h"

namespace triforce {
namespace {

constexpr int kThreads = 256;
constexpr int kChunksPerBlock = 16;

struct Params {
  int64_t entry_stride;  // of keys, in elements
  int64_t means_stride;  // of a kv_head
  int64_t kv_heads;
  int64_t first_entry;
  int64_t first;
  int64_t end;
  int head_dim;
  int chunk_tokens;
};

// The sums of a pair of elements over a tile's tokens, in their order, added to `sums`.
template <typename T>
TF_DEVICE void AddTile(const T* pair, float (&sums)[2]) {
  static_assert(kKeyTile == 8);
  const Eight<T> early = LoadEight(pair), late = LoadEight(pair + 8);
  float keys[2][8];
  Widen(early, keys[0]);
  Widen(late, keys[1]);
  TF_UNROLL
  for (int i = 0; i < 16; ++i) sums[i % 2] += keys[i / 8][i % 8];
}

template <typename T, typename M>
TF_KERNEL(kThreads)
ChunkMeansKernel(Params p, const T* blocks, M* means) {
  const int pairs = p.head_dim / 2;
  for (int i = gpu::ThreadIndex(); i < kChunksPerBlock * pairs; i += kThreads) {
    const int64_t chunk = p.first + gpu::BlockX() * kChunksPerBlock + i / pairs, position = chunk * p.chunk_tokens;
    if (chunk >= p.end) break;
    const int element = 2 * (i % pairs);
    const T* tile = blocks + (position / kKvBlock * p.kv_heads + gpu::BlockY() - p.first_entry) * p.entry_stride +
                    position % kKvBlock * p.head_dim;
    float sums[2] = {};
    for (int token = 0; token < p.chunk_tokens; token += kKeyTile) {
      AddTile(tile + KeyElement(0, element), sums);
      tile += kKeyTile * p.head_dim;
    }
    M* const to = means + gpu::BlockY() * p.means_stride + chunk * p.head_dim + element;
    const auto tokens = static_cast<float>(p.chunk_tokens);
    to[0] = gpu::FromFloat<M>(sums[0] / tokens);
    to[1] = gpu::FromFloat<M>(sums[1] / tokens);
  }
}

}  // namespace

void ChunkMeansCuda(CudaLane& lane, const ChunkMeansArgs& args) {
  const Params params{
      .entry_stride = args.kv.blocks.stride(0),
      .means_stride = args.means.stride(0),
      .kv_heads = args.kv.kv_heads,
      .first_entry = args.kv.first_entry,
      .first = args.first,
      .end = args.end,
      .head_dim = static_cast<int>(args.kv.head_dim()),
      .chunk_tokens = static_cast<int>(args.chunk_tokens),
  };
  WithFloatType(args.kv.dtype(), [&]<typename T>(T) {
    WithFloatType(args.means.dtype(), [&]<typename M>(M) {
      Launch<ChunkMeansKernel<T, M>>(lane, "chunk_means",
                                     {.x = (args.end - args.first + kChunksPerBlock - 1) / kChunksPerBlock,
                                      .y = args.kv.kv_heads,
                                      .threads = kThreads},
                                     params, args.kv.blocks.as<T>(), args.means.as<M>());
    });
  });
}

}  // namespace triforce
