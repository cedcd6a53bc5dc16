// ChunkShares on the CPU: lanes run over queries, so that no sum crosses lanes but the last one; a kv_head per item.
#include <algorithm>

#include "kernels/core/team.h"
#include "kernels/ops/chunk_shares.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/ops/chunk_shares_cpu.cc"
#include <hwy/foreach_target.h>
// After foreach_target.h:
#include "kernels/ops/exp-inl.h"
#include "kernels/ops/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace triforce {
namespace HWY_NAMESPACE {
namespace {

// Queries that are taken together: the lanes of a vector, where it has as many.
constexpr int64_t kQueryLanes = kChunkSharesQueries;
using QueryTag = hn::CappedTag<float, kQueryLanes>;
constexpr int64_t kVectorLanes = kLanes < kQueryLanes ? kLanes : kQueryLanes;
constexpr int kVectors = static_cast<int>(kQueryLanes / kVectorLanes);
using QueryVec = hn::Vec<QueryTag>;
// Chunks whose products are summed side by side: each sum is a chain of additions that wait for one another.
constexpr int64_t kChunkTile = 8;
constexpr int64_t kMaxHeadDim = 256;

// What a thread needs besides the logits, which come behind it.
struct Scratch {
  float q[kMaxHeadDim * kQueryLanes];                             // [head_dim, kQueryLanes], scaled
  float means[kChunkTile * kMaxHeadDim];                          // of a tile, in f32
  float* logits() { return reinterpret_cast<float*>(this + 1); }  // [chunks, kQueryLanes]
};

// logits[c][lane] = q[lane].mean[c] for kCount chunks, summed in the order of head_dim.
template <int kCount>
HWY_INLINE void Logits(const float* HWY_RESTRICT q, const float* HWY_RESTRICT means, int64_t head_dim,
                       float* HWY_RESTRICT logits) {
  const QueryTag d;
  for (int v = 0; v < kVectors; ++v) {
    QueryVec acc[kCount];
    for (QueryVec& sum : acc) sum = hn::Zero(d);
    for (int64_t i = 0; i < head_dim; ++i) {
      const QueryVec query = hn::LoadU(d, q + i * kQueryLanes + v * kVectorLanes);
      for (int c = 0; c < kCount; ++c) acc[c] = hn::MulAdd(hn::Set(d, means[c * head_dim + i]), query, acc[c]);
    }
    for (int c = 0; c < kCount; ++c) hn::StoreU(acc[c], d, logits + c * kQueryLanes + v * kVectorLanes);
  }
}

template <typename T>
void AllLogits(const T* means, int64_t chunks, int64_t head_dim, Scratch& scratch) {
  for (int64_t chunk = 0; chunk < chunks; chunk += kChunkTile) {
    const int64_t count = std::min(kChunkTile, chunks - chunk);
    const T* const from = means + chunk * head_dim;
    int64_t i = 0;
    for (; i + kLanes <= count * head_dim; i += kLanes) StoreFloats(LoadFloats(from + i), scratch.means + i);
    for (; i < count * head_dim; ++i) scratch.means[i] = ToF32(from[i]);
    float* const logits = scratch.logits() + chunk * kQueryLanes;
    if (count == kChunkTile) {
      Logits<kChunkTile>(scratch.q, scratch.means, head_dim, logits);
    } else {
      for (int64_t c = 0; c < count; ++c) {
        Logits<1>(scratch.q, scratch.means + c * head_dim, head_dim, logits + c * kQueryLanes);
      }
    }
  }
}

// shares[c] += the sum over the first `queries` lanes of softmax(logits)[c].
void AddSoftmaxes(float* HWY_RESTRICT logits, int64_t chunks, int64_t queries, float* HWY_RESTRICT shares) {
  const QueryTag d;
  const int64_t end = chunks * kQueryLanes;
  QueryVec factor[kVectors];
  for (int v = 0; v < kVectors; ++v) {
    float* const from = logits + v * kVectorLanes;
    QueryVec most = hn::LoadU(d, from), sum = hn::Zero(d);
    for (int64_t i = 0; i < end; i += kQueryLanes) most = hn::Max(most, hn::LoadU(d, from + i));
    for (int64_t i = 0; i < end; i += kQueryLanes) {
      const QueryVec p = ExpOfNegative(d, hn::Sub(hn::LoadU(d, from + i), most));
      hn::StoreU(p, d, from + i);
      sum = hn::Add(sum, p);
    }
    const QueryVec lane = hn::Iota(d, static_cast<float>(v * kVectorLanes));
    factor[v] = hn::IfThenElseZero(hn::Lt(lane, hn::Set(d, static_cast<float>(queries))), hn::Div(hn::Set(d, 1), sum));
  }
  for (int64_t c = 0; c < chunks; ++c) {
    QueryVec sum = hn::Zero(d);
    for (int v = 0; v < kVectors; ++v) {
      sum = hn::MulAdd(hn::LoadU(d, logits + c * kQueryLanes + v * kVectorLanes), factor[v], sum);
    }
    shares[c] += hn::GetLane(hn::SumOfLanes(d, sum));
  }
}

template <typename T>
void SharesOfHead(const ChunkSharesArgs& args, int64_t kv_head, Scratch& scratch) {
  const int64_t head_dim = args.q.dim(2), group = args.q.dim(1) / args.means.dim(0), queries = args.q.dim(0) * group;
  const T* const means = args.means.as<T>() + kv_head * args.means.stride(0);
  float* const shares = args.shares.as<float>() + kv_head * args.shares.stride(0);
  std::fill(shares, shares + args.chunks, 0.0f);
  for (int64_t first = 0; first < queries; first += kQueryLanes) {
    const int64_t count = std::min(kQueryLanes, queries - first);
    std::fill_n(scratch.q, head_dim * kQueryLanes, 0.0f);
    for (int64_t n = 0; n < count; ++n) {
      const int64_t row = (first + n) / group, head = kv_head * group + (first + n) % group;
      const float* const q = args.q.as<float>() + row * args.q.stride(0) + head * head_dim;
      for (int64_t i = 0; i < head_dim; ++i) scratch.q[i * kQueryLanes + n] = q[i] * args.scale;
    }
    AllLogits(means, args.chunks, head_dim, scratch);
    AddSoftmaxes(scratch.logits(), args.chunks, count, shares);
  }
}

void ChunkSharesImpl(Team& team, const ChunkSharesArgs& args) {
  static_assert(sizeof(Scratch) <= kChunkSharesScratchBytes);
  if (args.chunks == 0) return;
  team.For(args.means.dim(0), [&](Worker& worker, int64_t kv_head) {
    WithFloatType(args.means.dtype(), [&]<typename T>(T) {
      SharesOfHead<T>(args, kv_head, *reinterpret_cast<Scratch*>(worker.scratch.data()));
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
