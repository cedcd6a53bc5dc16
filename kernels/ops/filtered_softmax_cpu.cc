// FilteredSoftmax on the CPU: a row per item; no full sort of the vocabulary.
#include <algorithm>
#include <bit>
#include <cmath>
#include <functional>
#include <limits>

#include "kernels/core/team.h"
#include "kernels/ops/filtered_softmax.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/ops/filtered_softmax_cpu.cc"
#include <hwy/foreach_target.h>
// After foreach_target.h:
#include "kernels/ops/exp-inl.h"
#include "kernels/ops/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace triforce {
namespace HWY_NAMESPACE {
namespace {

constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

// Calls f(vector index, vector) -> vector for whole vectors of `values` and stores the result; what is left over goes
// through a vector padded with `padding`.
template <typename F>
HWY_INLINE void Transform(float* values, int64_t count, float padding, const F& f) {
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) StoreFloats(f(i / kLanes, LoadFloats(values + i)), values + i);
  if (i == count) return;
  HWY_ALIGN float rest[kSumLanes];
  std::fill(rest, rest + kSumLanes, padding);
  std::copy(values + i, values + count, rest);
  StoreFloats(f(i / kLanes, LoadFloats(rest)), rest);
  std::copy(rest, rest + (count - i), values + i);
}

void KeepTopK(float* scores, int64_t count, int64_t k, float* scratch) {
  std::copy(scores, scores + count, scratch);
  std::nth_element(scratch, scratch + (k - 1), scratch + count, std::greater<float>());
  const FloatVec kth = hn::Set(FloatTag(), scratch[k - 1]);
  Transform(scores, count, 0, [&](int64_t, FloatVec v) {
    return hn::IfThenElse(hn::Lt(v, kth), hn::Set(FloatTag(), kMinusInfinity), v);
  });
}

// In double: the cut lies where running sums are close together. Sixteen chains, whatever the vectors' width.
double ExactSum(const float* values, int64_t count) {
  const hn::Repartition<double, FloatTag> wide;
  const hn::Rebind<float, decltype(wide)> narrow;
  constexpr int64_t kWide = HWY_LANES(double);
  constexpr int kVectors = static_cast<int>(kSumLanes / kWide);
  hn::Vec<decltype(wide)> sums[kVectors];
  for (auto& sum : sums) sum = hn::Zero(wide);
  const int64_t whole = count / kSumLanes * kSumLanes;
  for (int64_t i = 0; i < whole; i += kSumLanes) {
    for (int v = 0; v < kVectors; ++v) {
      sums[v] = hn::Add(sums[v], hn::PromoteTo(wide, hn::LoadU(narrow, values + i + v * kWide)));
    }
  }
  HWY_ALIGN double lanes[kSumLanes];
  for (int v = 0; v < kVectors; ++v) hn::StoreU(sums[v], wide, lanes + v * kWide);
  for (int64_t i = whole; i < count; ++i) lanes[i % kSumLanes] += values[i];
  for (int64_t width = kSumLanes / 2; width > 0; width /= 2) {
    for (int64_t i = 0; i < width; ++i) lanes[i] += lanes[i + width];
  }
  return lanes[0];
}

using IdTag = hn::RebindToSigned<FloatTag>;

// The ids of weights that are above 0 and at least `least`, ascending -> ids; gives how many.
int64_t Candidates(const float* weights, int64_t count, float least, int32_t* ids) {
  const FloatTag d;
  const IdTag di;
  int64_t n = 0, i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    const FloatVec w = LoadFloats(weights + i);
    const auto is_one = hn::And(hn::Gt(w, hn::Zero(d)), hn::Ge(w, hn::Set(d, least)));
    if (hn::AllFalse(d, is_one)) continue;
    // Writes a whole vector, which n <= i leaves room for.
    n += static_cast<int64_t>(
        hn::CompressStore(hn::Iota(di, static_cast<int32_t>(i)), hn::RebindMask(di, is_one), di, ids + n));
  }
  for (; i < count; ++i) {
    if (weights[i] > 0 && weights[i] >= least) ids[n++] = static_cast<int32_t>(i);
  }
  return n;
}

// Zeroes what comes behind weight number `last`: lighter ones, and equal ones of higher ids.
void ZeroBehind(float* weights, int64_t count, int64_t last) {
  const FloatTag d;
  const FloatVec least = hn::Set(d, weights[last]);
  Transform(weights, count, 0, [&](int64_t index, FloatVec w) {
    const auto up_to = hn::Lt(hn::Iota(IdTag(), static_cast<int32_t>(index * kLanes)),
                              hn::Set(IdTag(), static_cast<int32_t>(last) + 1));
    return hn::IfThenElseZero(hn::Or(hn::Gt(w, least), hn::And(hn::Eq(w, least), hn::RebindMask(d, up_to))), w);
  });
}

// What KeepTopP has of a thread's scratch memory, besides the candidates, which come behind it.
struct TopPScratch {
  // Weights are at most 1, and less than an eighth apart within a bin: exponent and three bits behind it.
  static constexpr int kBins = 1024;
  double sums[kBins];
  int32_t* candidates() { return reinterpret_cast<int32_t*>(this + 1); }

  static int BinOf(float weight) { return static_cast<int>(std::bit_cast<uint32_t>(weight) >> 20) % kBins; }
};

// Zeroes all weights but the fewest and largest whose sum reaches top_p of the whole.
void KeepTopP(float* weights, int64_t count, float top_p, TopPScratch& scratch) {
  const double total = ExactSum(weights, count);
  // What is lighter than this is never kept: all of it together is less than half of what may be left out. (The other
  // half is for roundings of the total, and of this; the idea of such a cut is llama2.c's.)
  const double least = 0.5 * (1.0 - top_p) * total / static_cast<double>(count);
  int32_t* const candidates = scratch.candidates();
  const int64_t n = Candidates(weights, count, static_cast<float>(least), candidates);
  if (n == 0) return;
  // Whole bins are kept, heaviest first, as long as they do not reach top_p: only within the next one order matters.
  std::fill(scratch.sums, scratch.sums + TopPScratch::kBins, 0.0);
  for (int64_t i = 0; i < n; ++i) scratch.sums[TopPScratch::BinOf(weights[candidates[i]])] += weights[candidates[i]];
  double sum = 0;
  int bin = TopPScratch::kBins - 1;
  for (; bin > 0 && sum + scratch.sums[bin] < top_p * total; --bin) sum += scratch.sums[bin];
  int32_t* const end =
      std::partition(candidates, candidates + n, [&](int32_t id) { return TopPScratch::BinOf(weights[id]) == bin; });
  std::sort(candidates, end,
            [&](int32_t a, int32_t b) { return weights[a] != weights[b] ? weights[a] > weights[b] : a < b; });
  int32_t last = candidates[0];
  for (const int32_t* next = candidates; next < end && (next == candidates || sum < top_p * total); ++next) {
    last = *next;
    sum += weights[last];
  }
  ZeroBehind(weights, count, last);
}

void FilterRow(const FilteredSoftmaxArgs& args, int64_t row, std::byte* scratch) {
  const int64_t count = args.logits.dim(1);
  const SamplingFilter& filter = args.filter;
  const float* logits = args.logits.as<float>() + row * args.logits.stride(0);
  float* p = args.probabilities.as<float>() + row * args.probabilities.stride(0);
  const float most = Largest(logits, count);
  if (filter.temperature == 0) {
    const int64_t place = FirstPlace(logits, count, most);
    std::fill(p, p + count, 0.0f);
    p[place < count ? place : 0] = 1;
    return;
  }
  if (p != logits) std::copy(logits, logits + count, p);
  if (filter.top_k > 0 && filter.top_k < count) KeepTopK(p, count, filter.top_k, reinterpret_cast<float*>(scratch));
  const FloatVec temperature = hn::Set(FloatTag(), filter.temperature);
  const FloatVec largest = hn::Set(FloatTag(), most);
  // Distances are divided, and not logits, which could overflow by the least of temperatures.
  Transform(p, count, kMinusInfinity,
            [&](int64_t, FloatVec v) { return ExpOfNegative(FloatTag(), hn::Div(hn::Sub(v, largest), temperature)); });
  if (filter.top_p < 1) KeepTopP(p, count, filter.top_p, *reinterpret_cast<TopPScratch*>(scratch));
  const FloatVec least = hn::Set(FloatTag(), filter.min_p);  // the likeliest has weight 1
  LaneSum kept;
  Transform(p, count, 0, [&](int64_t index, FloatVec v) {
    const FloatVec weight = hn::IfThenElseZero(hn::Not(hn::Lt(v, least)), v);
    kept.Add(index, weight);
    return weight;
  });
  const FloatVec sum = hn::Set(FloatTag(), kept.Total());
  Transform(p, count, 0, [&](int64_t, FloatVec v) { return hn::Div(v, sum); });
}

void FilteredSoftmaxImpl(Team& team, const FilteredSoftmaxArgs& args) {
  static_assert(kMaxVocab * sizeof(float) + sizeof(TopPScratch) <= Team::kScratchBytes);
  team.For(args.logits.dim(0), [&](Worker& worker, int64_t row) { FilterRow(args, row, worker.scratch.data()); });
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace triforce
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace triforce {

HWY_EXPORT(FilteredSoftmaxImpl);

void FilteredSoftmaxCpu(Team& team, const FilteredSoftmaxArgs& args) {
  HWY_DYNAMIC_DISPATCH(FilteredSoftmaxImpl)(team, args);
}

}  // namespace triforce
#endif  // HWY_ONCE
