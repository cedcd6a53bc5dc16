// Peak on the CPU.
#include <atomic>

#include "kernels/core/team.h"
#include "kernels/ops/peak.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/ops/peak_cpu.cc"
#include <hwy/foreach_target.h>
// After foreach_target.h:
#include "kernels/ops/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace triforce {
namespace HWY_NAMESPACE {
namespace {

constexpr int64_t kChunkElements = 4096;
constexpr int64_t kChunksPerItem = 64;
constexpr int64_t kFmaRounds = 100000;
constexpr int64_t kChains = 12;  // more than latency (4 to 5) times the multiply-adds begun per cycle (2)

void AddTo(const TensorView& sink, float value) {
  std::atomic_ref<float>(*sink.as<float>()).fetch_add(value, std::memory_order_relaxed);
}

void ReadImpl(Team& team, const TensorView& data, const TensorView& sink) {
  const int64_t chunks = data.elements() / kChunkElements;
  team.For((chunks + kChunksPerItem - 1) / kChunksPerItem, [&](Worker&, int64_t item) {
    const FloatTag d;
    const int64_t end = std::min(chunks, (item + 1) * kChunksPerItem) * kChunkElements;
    FloatVec sums[8];
    for (FloatVec& sum : sums) sum = hn::Zero(d);
    for (int64_t i = item * kChunksPerItem * kChunkElements; i < end; i += 8 * kLanes) {
      for (int s = 0; s < 8; ++s) sums[s] = hn::Add(sums[s], LoadFloats(data.as<float>() + i + s * kLanes));
    }
    FloatVec total = hn::Zero(d);
    for (const FloatVec& sum : sums) total = hn::Add(total, sum);
    AddTo(sink, hn::GetLane(hn::SumOfLanes(d, total)));
  });
}

void FmaImpl(Team& team, int64_t items, const TensorView& sink) {
  team.For(items, [&](Worker&, int64_t item) {
    const FloatTag d;
    FloatVec chains[kChains];
    for (int c = 0; c < kChains; ++c) chains[c] = hn::Set(d, static_cast<float>(item + c));
    const FloatVec factor = hn::Set(d, 0.5f), term = hn::Set(d, 1.0f);
    for (int64_t round = 0; round < kFmaRounds; ++round) {
      for (FloatVec& chain : chains) chain = hn::MulAdd(chain, factor, term);
    }
    FloatVec total = hn::Zero(d);
    for (const FloatVec& chain : chains) total = hn::Add(total, chain);
    AddTo(sink, hn::GetLane(hn::SumOfLanes(d, total)));
  });
}

int64_t FmasPerItemImpl() { return kFmaRounds * kChains * kLanes; }

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace triforce
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace triforce {

HWY_EXPORT(ReadImpl);
HWY_EXPORT(FmaImpl);
HWY_EXPORT(FmasPerItemImpl);

void PeakReadCpu(Team& team, const TensorView& data, const TensorView& sink) {
  HWY_DYNAMIC_DISPATCH(ReadImpl)(team, data, sink);
}

void PeakFmaCpu(Team& team, int64_t items, const TensorView& sink) { HWY_DYNAMIC_DISPATCH(FmaImpl)(team, items, sink); }

int64_t PeakFmasPerItem() { return HWY_DYNAMIC_DISPATCH(FmasPerItemImpl)(); }

}  // namespace triforce
#endif  // HWY_ONCE
