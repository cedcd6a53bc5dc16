#include "kernels/ops/chunk_shares.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/core/cpu_lane.h"
#include "kernels/core/cuda_lane.h"

namespace triforce {

void ChunkSharesCpu(Team& team, const ChunkSharesArgs& args);                     // chunk_shares_cpu.cc
[[gnu::weak]] void ChunkSharesCuda(CudaLane& lane, const ChunkSharesArgs& args);  // chunk_shares_cuda.cu

namespace {

void Check(const ChunkSharesArgs& args) {
  TF_CHECK(args.q.rank() == 3 && args.q.dtype() == DType::kF32 && args.q.dense_rows() && args.means.rank() == 3 &&
               args.means.dense() && IsFloat(args.means.dtype()) && args.q.dim(2) == args.means.dim(2) &&
               args.q.dim(1) % args.means.dim(0) == 0,
           "q {}, means {}", args.q.ToString(), args.means.ToString());
  TF_CHECK(args.shares.rank() == 2 && args.shares.dtype() == DType::kF32 && args.shares.dense() &&
               args.shares.dim(0) == args.means.dim(0) && args.chunks >= 0 && args.chunks <= args.means.dim(1) &&
               args.chunks <= args.shares.dim(1),
           "shares {}, {} chunks", args.shares.ToString(), args.chunks);
}

}  // namespace

void ChunkShares(Lane& lane, const ChunkSharesArgs& args) {
  Check(args);
  TF_CHECK(args.q.dim(2) <= 256, "q {}", args.q.ToString());
  if (CudaLane* const cuda = AsCuda(lane)) return ChunkSharesCuda(*cuda, args);
  TF_CHECK(args.chunks <= kMaxChunksToShare, "{} chunks", args.chunks);
  AsCpu(lane).Run("chunk_shares", [args](Team& team) { ChunkSharesCpu(team, args); });
}

void ChunkSharesReference(const ChunkSharesArgs& args) {
  Check(args);
  const int64_t kv_heads = args.means.dim(0), heads = args.q.dim(1), head_dim = args.q.dim(2), group = heads / kv_heads;
  std::vector<double> sums(kv_heads * args.chunks), logits(args.chunks);
  WithFloatType(args.means.dtype(), [&]<typename T>(T) {
    for (int64_t i = 0; i < args.q.dim(0) * heads; ++i) {
      const int64_t kv_head = i % heads / group;
      const float* const q = args.q.as<float>() + i / heads * args.q.stride(0) + i % heads * head_dim;
      const T* const means = args.means.as<T>() + kv_head * args.means.stride(0);
      double all = 0;
      for (int64_t chunk = 0; chunk < args.chunks; ++chunk) {
        double product = 0;
        for (int64_t e = 0; e < head_dim; ++e)
          product += static_cast<double>(q[e]) * ToF32(means[chunk * head_dim + e]);
        all += logits[chunk] = std::exp(product * args.scale);
      }
      for (int64_t chunk = 0; chunk < args.chunks; ++chunk) sums[kv_head * args.chunks + chunk] += logits[chunk] / all;
    }
  });
  for (int64_t i = 0; i < kv_heads * args.chunks; ++i) {
    args.shares.as<float>()[i / args.chunks * args.shares.stride(0) + i % args.chunks] = static_cast<float>(sums[i]);
  }
}

}  // namespace triforce
