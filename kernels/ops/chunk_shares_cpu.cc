// ChunkShares on the CPU: lanes over head_dim for the products, over chunks for the softmax; a kv_head per item.
#include <algorithm>

#include "kernels/core/team.h"
#include "kernels/ops/chunk_shares.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/ops/chunk_shares_cpu.cc"
#include <hwy/foreach_target.h>
// After foreach_target.h:
#include <hwy/contrib/math/math-inl.h>

#include "kernels/ops/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace triforce {
namespace HWY_NAMESPACE {
namespace {

// shares += softmax(logits). `logits` has room for a vector more, and is used up.
void AddSoftmax(float* HWY_RESTRICT logits, int64_t count, float* HWY_RESTRICT shares) {
  const FloatTag d;
  const float most = *std::max_element(logits, logits + count);
  std::fill(logits + count, logits + (count + kSumLanes - 1) / kSumLanes * kSumLanes,
            -std::numeric_limits<float>::infinity());
  LaneSum sum;
  for (int64_t i = 0; i < count; i += kLanes) {
    const FloatVec p = hn::Exp(d, hn::Sub(LoadFloats(logits + i), hn::Set(d, most)));
    StoreFloats(p, logits + i);
    sum.Add(i / kLanes, p);
  }
  const float scale = 1 / sum.Total();
  for (int64_t i = 0; i < count; ++i) shares[i] += logits[i] * scale;
}

template <typename T>
void SharesOfHead(const ChunkSharesArgs& args, int64_t kv_head, float* logits) {
  const int64_t head_dim = args.q.dim(2), group = args.q.dim(1) / args.means.dim(0);
  const T* const means = args.means.as<T>() + kv_head * args.means.stride(0);
  float* const shares = args.shares.as<float>() + kv_head * args.shares.stride(0);
  std::fill(shares, shares + args.chunks, 0.0f);
  for (int64_t row = 0; row < args.q.dim(0); ++row) {
    for (int64_t head = kv_head * group; head < (kv_head + 1) * group; ++head) {
      const float* const q = args.q.as<float>() + row * args.q.stride(0) + head * head_dim;
      for (int64_t chunk = 0; chunk < args.chunks; ++chunk) {
        logits[chunk] = args.scale * DotProduct(q, means + chunk * head_dim, head_dim);
      }
      AddSoftmax(logits, args.chunks, shares);
    }
  }
}

void ChunkSharesImpl(Team& team, const ChunkSharesArgs& args) {
  if (args.chunks == 0) return;
  team.For(args.means.dim(0), [&](Worker& worker, int64_t kv_head) {
    WithFloatType(args.means.dtype(), [&]<typename T>(T) {
      SharesOfHead<T>(args, kv_head, reinterpret_cast<float*>(worker.scratch.data()));
    });
  });
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace triforce
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace triforce {

HWY_EXPORT(ChunkSharesImpl);

void ChunkSharesCpu(Team& team, const ChunkSharesArgs& args) { HWY_DYNAMIC_DISPATCH(ChunkSharesImpl)(team, args); }

}  // namespace triforce
#endif  // HWY_ONCE
