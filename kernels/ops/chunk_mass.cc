#include "kernels/ops/chunk_mass.h"

#include <cmath>
#include <limits>

#include "kernels/core/cpu_lane.h"
#include "kernels/core/cuda_lane.h"

namespace triforce {

// chunk_mass_cpu.cc
void ChunkMassCpu(Team& team, const ChunkMassArgs& args);
void AddChunkMassCpu(Team& team, const AddChunkMassArgs& args);
// chunk_mass_cuda.cu
[[gnu::weak]] void ChunkMassCuda(CudaLane& lane, const ChunkMassArgs& args);
[[gnu::weak]] void AddChunkMassCuda(CudaLane& lane, const AddChunkMassArgs& args);

namespace {

void CheckMatrix(const TensorView& t) {
  TF_CHECK(t.rank() == 2 && t.dtype() == DType::kF32 && t.dense(), "{}", t.ToString());
}

void Check(const ChunkMassArgs& args) {
  CheckKvView(args.kv);
  CheckMatrix(args.q);
  CheckMatrix(args.log_masses);
  TF_CHECK(args.chunk_tokens >= kKeyTile && args.chunk_tokens % kKeyTile == 0 && kKvBlock % args.chunk_tokens == 0,
           "chunks of {}", args.chunk_tokens);
  const int64_t blocks = args.kv.entries() == 0 ? 0 : args.kv.BlockOf(args.kv.entries() - 1) + 1;
  TF_CHECK(args.q.dim(0) % args.kv.kv_heads == 0 && args.q.dim(1) == args.kv.head_dim() &&
               args.log_masses.dim(0) == args.q.dim(0) &&
               args.log_masses.dim(1) >= blocks * (kKvBlock / args.chunk_tokens) && args.visible >= 0,
           "q {}, KV {}, masses {}", args.q.ToString(), args.kv.blocks.ToString(), args.log_masses.ToString());
}

}  // namespace

void ChunkMass(Lane& lane, const ChunkMassArgs& args) {
  Check(args);
  if (CudaLane* const cuda = AsCuda(lane)) return ChunkMassCuda(*cuda, args);
  AsCpu(lane).Run("chunk_mass", [args](Team& team) { ChunkMassCpu(team, args); });
}

void ChunkMassReference(const ChunkMassArgs& args) {
  Check(args);
  const int64_t head_dim = args.q.dim(1), group = args.q.dim(0) / args.kv.kv_heads;
  const auto score = [&](int64_t head, int64_t position) {
    return WithFloatType(args.kv.dtype(), [&]<typename T>(T) {
      const T* const tile = KeyTileAt<T>(args.kv, head / group, position);
      double sum = 0;
      for (int64_t i = 0; i < head_dim; ++i) {
        sum += static_cast<double>(args.q.as<float>()[head * head_dim + i]) * ToF32(tile[KeyElement(position, i)]);
      }
      return sum * args.scale;
    });
  };
  for (int64_t entry = 0; entry < args.kv.entries(); ++entry) {
    for (int64_t head = args.kv.HeadOf(entry) * group; head < (args.kv.HeadOf(entry) + 1) * group; ++head) {
      for (int64_t i = 0; i < kKvBlock / args.chunk_tokens; ++i) {
        const int64_t chunk = args.kv.BlockOf(entry) * (kKvBlock / args.chunk_tokens) + i;
        double mass = 0;
        for (int64_t token = 0; token < args.chunk_tokens; ++token) {
          const int64_t position = chunk * args.chunk_tokens + token;
          if (position < args.visible) mass += std::exp(score(head, position));
        }
        args.log_masses.as<float>()[head * args.log_masses.stride(0) + chunk] = static_cast<float>(std::log(mass));
      }
    }
  }
}

void AddChunkMass(Lane& lane, const AddChunkMassArgs& args) {
  CheckMatrix(args.log_masses);
  CheckMatrix(args.sums);
  TF_CHECK(args.log_masses.dim(0) % args.sums.dim(0) == 0 && args.chunks <= args.log_masses.dim(1) &&
               args.chunks <= args.sums.dim(1),
           "masses {}, sums {}, {} chunks", args.log_masses.ToString(), args.sums.ToString(), args.chunks);
  if (CudaLane* const cuda = AsCuda(lane)) return AddChunkMassCuda(*cuda, args);
  AsCpu(lane).Run("add_chunk_mass", [args](Team& team) { AddChunkMassCpu(team, args); });
}

}  // namespace triforce
