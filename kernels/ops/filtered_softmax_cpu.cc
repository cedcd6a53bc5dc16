// FilteredSoftmax on the CPU: a row per item; no full sort of the vocabulary.
#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

#include "kernels/core/team.h"
#include "kernels/ops/filtered_softmax.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/ops/filtered_softmax_cpu.cc"
#include <hwy/foreach_target.h>
// After foreach_target.h:
#include <hwy/contrib/math/math-inl.h>

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

float Largest(const float* values, int64_t count) {
  float most = kMinusInfinity;
  for (int64_t i = 0; i < count; ++i) most = values[i] > most ? values[i] : most;
  return most;
}

// scores -> exp(score - most).
void Exponentiate(float* scores, int64_t count, float most) {
  Transform(scores, count, kMinusInfinity,
            [&](int64_t, FloatVec v) { return hn::Exp(FloatTag(), hn::Sub(v, hn::Set(FloatTag(), most))); });
}

// In double: the cut lies where running sums are close together. Four chains, since one waits for its own additions.
double ExactSum(const float* values, int64_t count) {
  double sums[4] = {};
  for (int64_t i = 0; i < count; ++i) sums[i % 4] += values[i];
  return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

// Zeroes all weights but the fewest and largest whose sum reaches top_p of the whole.
void KeepTopP(float* weights, int64_t count, float top_p, int32_t* candidates) {
  const double total = ExactSum(weights, count);
  // What is lighter than this is never kept: all of it together is less than half of what may be left out. (The other
  // half is for roundings of the total; the idea of such a cut is llama2.c's.)
  const double least = 0.5 * (1.0 - top_p) * total / static_cast<double>(count);
  int64_t n = 0;
  for (int32_t id = 0; id < count; ++id) {
    candidates[n] = id;
    n += weights[id] > 0 && weights[id] >= least;
  }
  const auto before = [&](int32_t a, int32_t b) { return weights[a] != weights[b] ? weights[a] > weights[b] : a < b; };
  std::sort(candidates, candidates + n, before);
  double sum = 0;
  int64_t kept = 0;
  while (kept < n && (kept == 0 || sum < top_p * total)) sum += weights[candidates[kept++]];
  if (kept == 0) return;
  const int32_t last = candidates[kept - 1];
  for (int32_t id = 0; id < count; ++id) weights[id] = id == last || before(id, last) ? weights[id] : 0.0f;
}

void FilterRow(const FilteredSoftmaxArgs& args, int64_t row, std::byte* scratch) {
  const int64_t count = args.logits.dim(1);
  const SamplingFilter& filter = args.filter;
  const float* logits = args.logits.as<float>() + row * args.logits.stride(0);
  float* p = args.probabilities.as<float>() + row * args.probabilities.stride(0);
  const float most = Largest(logits, count);
  if (filter.temperature == 0) {
    const int64_t place = std::find(logits, logits + count, most) - logits;
    std::fill(p, p + count, 0.0f);
    p[place < count ? place : 0] = 1;
    return;
  }
  const FloatVec temperature = hn::Set(FloatTag(), filter.temperature);
  std::copy(logits, logits + count, p);
  if (filter.top_k > 0 && filter.top_k < count) KeepTopK(p, count, filter.top_k, reinterpret_cast<float*>(scratch));
  Transform(p, count, 0, [&](int64_t, FloatVec v) { return hn::Div(v, temperature); });
  Exponentiate(p, count, most / filter.temperature);
  if (filter.top_p < 1) KeepTopP(p, count, filter.top_p, reinterpret_cast<int32_t*>(scratch));
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
  static_assert(kMaxVocab * sizeof(float) <= Team::kScratchBytes);
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
