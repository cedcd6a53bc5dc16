// ChunkMass on CUDA, plainly: a block an entry, a thread a key; AddChunkMass: a block a kv_head.
#include <cstdint>
#include <limits>

#include "kernels/core/gpu_launch.h"
#include "kernels/ops/chunk_mass.h"
#include "kernels/ops/row_block.h"

namespace triforce {
namespace {

constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

struct MassParams {
  const float* q;        // [kv_heads, group, head_dim]
  int64_t entry_stride;  // of keys, in elements
  int64_t kv_heads;
  int64_t first_entry;
  int64_t visible;
  int64_t group;
  int64_t head_dim;
  int64_t chunk_tokens;
  float scale;
  float* log_masses;  // [heads, masses_stride]
  int64_t masses_stride;
};

// q.k of the key of `position`, whose tile begins at `tile`: a sum of even elements plus one of odd ones.
template <typename T>
TF_DEVICE float Product(const float* q, const T* tile, int64_t position, int64_t head_dim) {
  float even = 0, odd = 0;
  for (int64_t i = 0; i < head_dim; i += 2) {
    const T* const pair = tile + KeyElement(position, i);
    even = gpu::Fma(q[i], gpu::ToFloat(pair[0]), even);
    odd = gpu::Fma(q[i + 1], gpu::ToFloat(pair[1]), odd);
  }
  return even + odd;
}

TF_DEVICE float LogOfMass(const float* scores, int64_t count) {
  float most = kMinusInfinity, sum = 0;
  for (int64_t i = 0; i < count; ++i) most = gpu::Max(most, scores[i]);
  if (most == kMinusInfinity) return most;
  for (int64_t i = 0; i < count; ++i) sum += gpu::Exp(scores[i] - most);
  return most + gpu::Log(sum);
}

template <typename T>
TF_KERNEL(kKvBlock)
ChunkMassKernel(MassParams p, const T* blocks) {
  float* const scores = gpu::Shared<float>();  // [kKvBlock]
  const int64_t entry = p.first_entry + gpu::BlockX(), kv_head = entry % p.kv_heads, block = entry / p.kv_heads;
  const int64_t token = gpu::ThreadIndex(), chunks = kKvBlock / p.chunk_tokens;
  const bool seen = block * kKvBlock + token < p.visible;
  const T* const tile = blocks + gpu::BlockX() * p.entry_stride + token / kKeyTile * kKeyTile * p.head_dim;
  for (int64_t head = kv_head * p.group; head < (kv_head + 1) * p.group; ++head) {
    scores[token] = seen ? Product(p.q + head * p.head_dim, tile, token, p.head_dim) * p.scale : kMinusInfinity;
    gpu::SyncThreads();
    if (token < chunks) {
      p.log_masses[head * p.masses_stride + block * chunks + token] =
          LogOfMass(scores + token * p.chunk_tokens, p.chunk_tokens);
    }
    gpu::SyncThreads();
  }
}

TF_KERNEL(kMaxRowThreads)
AddChunkMassKernel(const float* log_masses, int64_t masses_stride, int64_t chunks, int64_t group, float* all_sums,
                   int64_t sums_stride) {
  float* const warps = gpu::Shared<float>();
  float* const sums = all_sums + gpu::BlockX() * sums_stride;
  for (int64_t head = gpu::BlockX() * group; head < (gpu::BlockX() + 1) * group; ++head) {
    const float* const masses = log_masses + head * masses_stride;
    float most = kMinusInfinity, all = 0;
    ForRow(masses, chunks, [&](int64_t, float mass) { most = gpu::Max(most, mass); });
    most = FoldBlock(most, warps, [](float a, float b) { return gpu::Max(a, b); });
    ForRow(masses, chunks, [&](int64_t, float mass) { all += gpu::Exp(mass - most); });
    all = SumBlock(all, warps);
    // The same thread each time: ForRow's elements are a thread's own.
    ForRow(masses, chunks, [&](int64_t chunk, float mass) { sums[chunk] += gpu::Exp(mass - most) / all; });
  }
}

}  // namespace

void ChunkMassCuda(CudaLane& lane, const ChunkMassArgs& args) {
  const MassParams params{
      .q = args.q.as<float>(),
      .entry_stride = args.kv.blocks.stride(0),
      .kv_heads = args.kv.kv_heads,
      .first_entry = args.kv.first_entry,
      .visible = args.visible,
      .group = args.q.dim(0) / args.kv.kv_heads,
      .head_dim = args.q.dim(1),
      .chunk_tokens = args.chunk_tokens,
      .scale = args.scale,
      .log_masses = args.log_masses.as<float>(),
      .masses_stride = args.log_masses.stride(0),
  };
  WithFloatType(args.kv.dtype(), [&]<typename T>(T) {
    Launch<ChunkMassKernel<T>>(
        lane, "chunk_mass",
        {.x = args.kv.entries(), .threads = kKvBlock, .shared_bytes = kKvBlock * static_cast<int64_t>(sizeof(float))},
        params, args.kv.blocks.as<T>());
  });
}

void AddChunkMassCuda(CudaLane& lane, const AddChunkMassArgs& args) {
  const int64_t kv_heads = args.sums.dim(0);
  Launch<AddChunkMassKernel>(lane, "add_chunk_mass",
                             {.x = kv_heads,
                              .threads = RowThreads(args.chunks),
                              .shared_bytes = gpu::kWarpThreads * static_cast<int64_t>(sizeof(float))},
                             args.log_masses.as<float>(), args.log_masses.stride(0), args.chunks,
                             args.log_masses.dim(0) / kv_heads, args.sums.as<float>(), args.sums.stride(0));
}

}  // namespace triforce
