// ChunkMass on the CPU: scores as attention has them (attention_block-inl.h), then sums by chunk.
#include <algorithm>
#include <cmath>

#include "kernels/core/team.h"
#include "kernels/ops/chunk_mass.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/ops/chunk_mass_cpu.cc"
#include <hwy/foreach_target.h>
// After foreach_target.h:
#include <hwy/contrib/math/math-inl.h>

#include "kernels/ops/attention_block-inl.h"

HWY_BEFORE_NAMESPACE();
namespace triforce {
namespace HWY_NAMESPACE {
namespace {

// The scores of one block -> the log masses of its chunks. `scores` is used up.
void LogMasses(float* scores, int64_t visible, int64_t chunk_tokens, float* log_masses) {
  const FloatTag d;
  std::fill(scores + visible, scores + kKvBlock, kMinusInfinity);
  for (int64_t chunk = 0; chunk * chunk_tokens < kKvBlock; ++chunk) {
    float* const of_chunk = scores + chunk * chunk_tokens;
    const float most = *std::max_element(of_chunk, of_chunk + chunk_tokens);
    log_masses[chunk] = most;
    if (most == kMinusInfinity) continue;
    for (int64_t i = 0; i < chunk_tokens; ++i) of_chunk[i] -= most;
  }
  for (int64_t i = 0; i < kKvBlock; i += kLanes) StoreFloats(hn::Exp(d, LoadFloats(scores + i)), scores + i);
  for (int64_t chunk = 0; chunk * chunk_tokens < kKvBlock; ++chunk) {
    if (log_masses[chunk] == kMinusInfinity) continue;
    float sum = 0;
    for (int64_t i = 0; i < chunk_tokens; ++i) sum += scores[chunk * chunk_tokens + i];
    log_masses[chunk] += std::log(sum);
  }
}

template <typename T>
void MassesOfEntry(const ChunkMassArgs& args, int64_t entry, float* scores) {
  const int64_t group = args.q.dim(0) / args.kv.kv_heads, first = args.kv.BlockOf(entry) * kKvBlock;
  const int64_t visible = std::clamp<int64_t>(args.visible - first, 0, kKvBlock);
  const Block<T> block = BlockOf<T>(args.kv, entry, visible, entry);
  for (int64_t head = args.kv.HeadOf(entry) * group; head < (args.kv.HeadOf(entry) + 1) * group; ++head) {
    const float* const q = args.q.as<float>() + head * args.q.dim(1);
    for (int64_t first_key = 0; first_key < visible; first_key += kKeyTile) {
      const T* const keys = block.keys[first_key / kKeyTile];
      TileScores<1>(&q, keys, keys, block.head_dim, args.scale, scores + first_key);
    }
    LogMasses(scores, visible, args.chunk_tokens,
              args.log_masses.as<float>() + head * args.log_masses.stride(0) + first / args.chunk_tokens);
  }
}

void ChunkMassImpl(Team& team, const ChunkMassArgs& args) {
  team.For(args.kv.entries(), [&](Worker& worker, int64_t entry) {
    WithFloatType(args.kv.dtype(), [&]<typename T>(T) {
      MassesOfEntry<T>(args, entry, reinterpret_cast<float*>(worker.scratch.data()));
    });
  });
}

void AddChunkMassImpl(Team& team, const AddChunkMassArgs& args) {
  const int64_t kv_heads = args.sums.dim(0), group = args.log_masses.dim(0) / kv_heads;
  team.For(kv_heads, [&](Worker&, int64_t kv_head) {
    float* const sums = args.sums.as<float>() + kv_head * args.sums.stride(0);
    for (int64_t head = kv_head * group; head < (kv_head + 1) * group; ++head) {
      const float* const masses = args.log_masses.as<float>() + head * args.log_masses.stride(0);
      const float most = *std::max_element(masses, masses + args.chunks);
      double all = 0;
      for (int64_t chunk = 0; chunk < args.chunks; ++chunk) all += std::exp(masses[chunk] - most);
      for (int64_t chunk = 0; chunk < args.chunks; ++chunk) {
        sums[chunk] += static_cast<float>(std::exp(masses[chunk] - most) / all);
      }
    }
  });
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace triforce
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace triforce {

HWY_EXPORT(ChunkMassImpl);
HWY_EXPORT(AddChunkMassImpl);

void ChunkMassCpu(Team& team, const ChunkMassArgs& args) { HWY_DYNAMIC_DISPATCH(ChunkMassImpl)(team, args); }
void AddChunkMassCpu(Team& team, const AddChunkMassArgs& args) { HWY_DYNAMIC_DISPATCH(AddChunkMassImpl)(team, args); }

}  // namespace triforce
#endif  // HWY_ONCE
