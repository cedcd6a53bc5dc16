// FilteredSoftmax on CUDA: a block a row, which it reads some times over; nothing is sorted.
//
// top_k and top_p ask for the largest key such that what has it or a larger one amounts to something: to so many
// elements, or to so much weight. Select finds it digit by digit, the highest first, from the amounts by digit of those
// elements whose higher digits are the key's (a radix select). Weights are counted in integers, so that sums do not
// depend on the order in which threads come; a weight below 2^-44 of the largest counts as nothing.
#include <bit>
#include <limits>

#include "kernels/core/gpu_launch.h"
#include "kernels/ops/filtered_softmax.h"
#include "kernels/ops/row_block.h"

namespace triforce {
namespace {

constexpr int kDigitBits = 11;
constexpr int kBins = 1 << kDigitBits;
constexpr float kWeightUnits = 0x1p44f;  // of weight 1; kMaxVocab of them are below 2^63

// The key that Select has found, and what is at it and above.
struct Cut {
  uint32_t key;
  uint64_t missing;  // of the wanted amount, after all larger keys; above 0
  uint64_t at;       // the amount that has this key; at least `missing`
};

struct Memory {
  uint64_t warps[gpu::kWarpThreads];  // of folds
  Cut cut;
  uint32_t low[kBins], high[kBins];  // halves of the amounts by digit, the largest digit first
};
TF_DEVICE Memory& Shared() { return *gpu::Shared<Memory>(); }

struct Counted {
  uint32_t key;
  uint64_t amount;
};

// Shared memory adds 32 bits atomically; of 64 it has compare-and-swap alone (Maxwell Tuning Guide, 1.4.3.3).
TF_DEVICE void AddToBin(int bin, uint64_t amount) {
  const auto low = static_cast<uint32_t>(amount);
  const uint32_t before = gpu::AtomicAdd(&Shared().low[bin], low);
  const bool carry = static_cast<uint32_t>(before + low) < low;
  const uint32_t high = static_cast<uint32_t>(amount >> 32) + (carry ? 1 : 0);
  if (high != 0) gpu::AtomicAdd(&Shared().high[bin], high);
}
TF_DEVICE uint64_t Bin(int bin) { return static_cast<uint64_t>(Shared().high[bin]) << 32 | Shared().low[bin]; }

// The bin in which the running sum reaches `wanted`, with `key` the bin's place.
TF_DEVICE Cut FindBin(uint64_t wanted) {
  const int each = kBins / gpu::BlockThreads(), first = gpu::ThreadIndex() * each;
  uint64_t mine = 0;
  for (int bin = first; bin < first + each; ++bin) mine += Bin(bin);
  uint64_t up_to = mine;  // of this warp's threads up to this one
  for (int lanes = 1; lanes < gpu::kWarpThreads; lanes *= 2) {
    const uint64_t other = gpu::ShuffleUp(up_to, lanes);
    if (gpu::LaneIndex() >= lanes) up_to += other;
  }
  if (gpu::LaneIndex() == gpu::kWarpThreads - 1) Shared().warps[gpu::WarpIndex()] = up_to;
  gpu::SyncThreads();
  uint64_t sum = up_to - mine;
  for (int warp = 0; warp < gpu::WarpIndex(); ++warp) sum += Shared().warps[warp];
  if (sum < wanted && wanted <= sum + mine) {  // one thread
    int bin = first;
    while (sum + Bin(bin) < wanted) sum += Bin(bin++);
    Shared().cut = {static_cast<uint32_t>(bin), wanted - sum, Bin(bin)};
  }
  gpu::SyncThreads();
  return Shared().cut;
}

// The largest key with which, and above which, elements of the row amount to `wanted`. `of` gives an element's key, of
// `key_bits` bits, and amount. REQUIRES: 0 < wanted <= the amount of all.
template <typename F>
TF_DEVICE Cut Select(const float* row, int64_t count, int key_bits, uint64_t wanted, const F& of) {
  Cut cut{0, wanted, 0};
  for (int low = key_bits; low > 0;) {
    const int high = low, bits = low < kDigitBits ? low : kDigitBits;
    low -= bits;
    const uint32_t largest = (1u << bits) - 1;
    for (int bin = gpu::ThreadIndex(); bin < kBins; bin += gpu::BlockThreads()) {
      Shared().low[bin] = Shared().high[bin] = 0;
    }
    gpu::SyncThreads();
    ForRow(row, count, [&](int i, float value) {
      const Counted element = of(i, value);
      if (element.amount == 0 || static_cast<uint64_t>(element.key) >> high != cut.key) return;
      AddToBin(static_cast<int>(largest - (element.key >> low & largest)), element.amount);
    });
    gpu::SyncThreads();
    const Cut found = FindBin(cut.missing);
    cut = {cut.key << bits | (largest - found.key), found.missing, found.at};
  }
  return cut;
}

struct Row {
  const float* logits;
  float* p;
  int64_t count;
};

// The least logit's ordered bits that top_k keeps.
TF_DEVICE uint32_t LeastOfTopK(const Row& row, int32_t top_k) {
  if (top_k == 0 || top_k >= row.count) return 0;
  const auto of = [](int, float logit) { return Counted{OrderedBits(logit), 1}; };
  return Select(row.logits, row.count, 32, static_cast<uint64_t>(top_k), of).key;
}

TF_DEVICE uint64_t Units(float weight) {  // 0 of NaN
  return weight > 0 ? static_cast<uint64_t>(weight * kWeightUnits) : 0;
}

// Writes weights, 1 for the largest logit; NaN where it is NaN. Gives their sum in units.
TF_DEVICE uint64_t WriteWeights(const Row& row, const SamplingFilter& filter) {
  const uint32_t least = LeastOfTopK(row, filter.top_k);
  float most = -std::numeric_limits<float>::infinity();
  ForRow(row.logits, row.count, [&](int, float logit) { most = gpu::Max(most, logit); });
  most = FoldBlock(most, reinterpret_cast<float*>(Shared().warps), [](float a, float b) { return gpu::Max(a, b); });
  uint64_t units = 0;
  ForRow(row.logits, row.count, [&](int i, float logit) {
    // A NaN stays one, whatever its sign.
    const float weight =
        OrderedBits(logit) < least && logit == logit ? 0.0f : gpu::Exp((logit - most) / filter.temperature);
    units += Units(weight);
    row.p[i] = weight;
  });
  return SumBlock(units, Shared().warps);
}

// What top_p keeps: weights above `weight`, and of those that equal it the ones up to `last`.
struct Kept {
  float weight;
  int64_t last;
};

TF_DEVICE Kept KeepTopP(const Row& row, float top_p, uint64_t total) {
  if (top_p == 1 || total == 0) return {0, row.count};
  const double share = static_cast<double>(top_p), all = static_cast<double>(total);
  // What is lighter than this is never kept: all of it together is at most half of what may be left out. Where many
  // tokens have next to no weight, few are counted (the idea of such a cut is llama2.c's).
  const auto least = static_cast<uint64_t>(0.5 * (1.0 - share) * all / static_cast<double>(row.count)) + 1;
  auto wanted = static_cast<uint64_t>(share * all);
  wanted += static_cast<double>(wanted) < share * all || wanted == 0 ? 1 : 0;
  const Cut cut = Select(row.p, row.count, 32, wanted, [=](int, float weight) {
    const uint64_t units = Units(weight);
    return Counted{std::bit_cast<uint32_t>(weight), units < least ? 0 : units};
  });
  const float weight = std::bit_cast<float>(cut.key);
  const uint64_t equals = cut.at / Units(weight), kept = (cut.missing + Units(weight) - 1) / Units(weight);
  if (kept == equals) return {weight, row.count};
  constexpr int kIdBits = 18;
  static_assert(int64_t{1} << kIdBits == kMaxVocab);
  const Cut last = Select(row.p, row.count, kIdBits, kept, [=](int i, float other) {
    return Counted{static_cast<uint32_t>(kMaxVocab - 1 - i), other == weight ? uint64_t{1} : 0};  // lowest ids first
  });
  return {weight, kMaxVocab - 1 - last.key};
}

TF_KERNEL(kMaxRowThreads)
FilteredSoftmaxKernel(const float* logits, int64_t logits_stride, float* p, int64_t p_stride, int64_t count,
                      SamplingFilter filter) {
  const Row row{logits + gpu::BlockX() * logits_stride, p + gpu::BlockX() * p_stride, count};
  if (filter.temperature == 0) {
    const int64_t place = PlaceOfLargest(row.logits, count, Shared().warps);
    for (int64_t i = gpu::ThreadIndex(); i < count; i += gpu::BlockThreads()) row.p[i] = i == place ? 1.0f : 0.0f;
    return;
  }
  const uint64_t total = WriteWeights(row, filter);
  const Kept kept = KeepTopP(row, filter.top_p, total);
  const auto filtered = [&](int i, float weight) {  // NaN stays
    const bool drops = weight < kept.weight || (weight == kept.weight && i > kept.last) || weight < filter.min_p;
    return drops ? 0.0f : weight;
  };
  float sum = 0;
  ForRow(row.p, count, [&](int i, float weight) { sum += filtered(i, weight); });
  sum = SumBlock(sum, reinterpret_cast<float*>(Shared().warps));
  ForRow(row.p, count, [&](int i, float weight) { row.p[i] = filtered(i, weight) / sum; });
}

}  // namespace

void FilteredSoftmaxCuda(CudaLane& lane, const FilteredSoftmaxArgs& args) {
  const int64_t count = args.logits.dim(1);
  Launch<FilteredSoftmaxKernel>(lane, "filtered_softmax",
                                {.x = args.logits.dim(0), .threads = RowThreads(count), .shared_bytes = sizeof(Memory)},
                                args.logits.as<float>(), args.logits.stride(0), args.probabilities.as<float>(),
                                args.probabilities.stride(0), count, args.filter);
}

}  // namespace triforce
