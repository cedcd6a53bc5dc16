#include "kernels/ops/filtered_softmax.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>
#include <vector>

#include "kernels/core/cpu_lane.h"
#include "kernels/core/cuda_lane.h"

namespace triforce {

void FilteredSoftmaxCpu(Team& team, const FilteredSoftmaxArgs& args);                     // filtered_softmax_cpu.cc
[[gnu::weak]] void FilteredSoftmaxCuda(CudaLane& lane, const FilteredSoftmaxArgs& args);  // filtered_softmax_cuda.cu

namespace {

void Check(const FilteredSoftmaxArgs& args) {
  for (const TensorView& t : {args.logits, args.probabilities}) {
    TF_CHECK(t.rank() == 2 && t.dtype() == DType::kF32 && t.dense_rows() && t.dim(0) == args.logits.dim(0) &&
                 t.dim(1) == args.logits.dim(1) && t.dim(1) > 0 && t.dim(1) <= kMaxVocab,
             "{}", t.ToString());
  }
  const SamplingFilter& f = args.filter;
  TF_CHECK(f.temperature >= 0 && f.top_k >= 0 && f.top_p > 0 && f.top_p <= 1 && f.min_p >= 0 && f.min_p <= 1,
           "temperature {}, top_k {}, top_p {}, min_p {}", f.temperature, f.top_k, f.top_p, f.min_p);
}

void ReferenceRow(std::vector<double> scores, const SamplingFilter& filter, float* out) {
  const int64_t vocab = static_cast<int64_t>(scores.size());
  std::vector<int64_t> order(vocab);  // largest first
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return scores[a] > scores[b]; });
  std::fill(out, out + vocab, 0.0f);
  if (filter.temperature == 0) {
    out[order[0]] = 1;
    return;
  }
  int64_t kept = vocab;
  if (filter.top_k > 0 && filter.top_k < vocab) {
    kept = filter.top_k;
    while (kept < vocab && scores[order[kept]] == scores[order[filter.top_k - 1]]) ++kept;
  }
  std::vector<double> weights;
  for (int64_t i = 0; i < kept; ++i)
    weights.push_back(std::exp((scores[order[i]] - scores[order[0]]) / filter.temperature));
  const double total = std::accumulate(weights.begin(), weights.end(), 0.0);
  double sum = 0;
  int64_t reached = 0;
  while (reached < kept && (reached == 0 || filter.top_p == 1 || sum < filter.top_p * total)) sum += weights[reached++];
  while (reached > 1 && weights[reached - 1] < filter.min_p) --reached;
  const double left = std::accumulate(weights.begin(), weights.begin() + reached, 0.0);
  for (int64_t i = 0; i < reached; ++i) out[order[i]] = static_cast<float>(weights[i] / left);
}

}  // namespace

void FilteredSoftmax(Lane& lane, const FilteredSoftmaxArgs& args) {
  Check(args);
  if (CudaLane* const cuda = AsCuda(lane)) return FilteredSoftmaxCuda(*cuda, args);
  AsCpu(lane).Run("filtered_softmax", [args](Team& team) { FilteredSoftmaxCpu(team, args); });
}

void FilteredSoftmaxReference(const FilteredSoftmaxArgs& args) {
  Check(args);
  for (int64_t row = 0; row < args.logits.dim(0); ++row) {
    const float* logits = args.logits.as<float>() + row * args.logits.stride(0);
    ReferenceRow({logits, logits + args.logits.dim(1)}, args.filter,
                 args.probabilities.as<float>() + row * args.probabilities.stride(0));
  }
}

}  // namespace triforce
