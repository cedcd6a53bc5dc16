// Categorical on CUDA: a block a row.
//
// The row is cut into pieces, one for each warp; the piece in which the running sum passes the target is cut again,
// down to one element. Sums are in double and in an order that depends on the row's length alone. A running sum never
// falls from piece to piece, and a piece without probability is never chosen; where rounding lets no running sum within
// a piece pass what the piece as a whole has passed, its last element of any probability is the one.
#include <limits>

#include "kernels/core/gpu_launch.h"
#include "kernels/core/random.h"
#include "kernels/ops/categorical.h"
#include "kernels/ops/device_counter.h"

namespace triforce {
namespace {

constexpr int kMaxThreads = 1024;

// The sum of some elements, in every lane. Most probabilities are 0 after filters, and doubles are slow on GPUs for
// games.
TF_DEVICE double SumOfPiece(const float* p, int64_t count) {
  constexpr int kLoads = 8;
  double sum = 0;
  for (int64_t first = gpu::LaneIndex(); first < count; first += kLoads * gpu::kWarpThreads) {
    float loaded[kLoads];
    TF_UNROLL for (int k = 0; k < kLoads; ++k) {
      const int64_t i = first + k * gpu::kWarpThreads;
      loaded[k] = i < count ? p[i] : 0.0f;
    }
    TF_UNROLL for (int k = 0; k < kLoads; ++k) {
      if (loaded[k] != 0) sum += loaded[k];
    }
  }
  TF_UNROLL for (int mask = gpu::kWarpThreads / 2; mask > 0; mask /= 2) sum += gpu::ShuffleXor(sum, mask);
  return sum;
}

// Sums of the pieces of [begin, begin + pieces * length), cut off at `end` -> sums, for all threads.
TF_DEVICE void SumPieces(const float* p, int64_t begin, int64_t length, int64_t end, double* sums) {
  const int64_t from = begin + gpu::WarpIndex() * length, rest = end - from;
  const double sum = SumOfPiece(p + from, rest < length ? rest : length);
  if (gpu::LaneIndex() == 0) sums[gpu::WarpIndex()] = sum;
  gpu::SyncThreads();
}

// Where a row's random bits come from.
struct RandomSource {
  const uint32_t* bits;  // [rows, 2]; or null, and
  uint64_t seed;
  RandomCounter first;
  const int64_t* base;

  TF_DEVICE uint64_t BitsOf(int64_t row) const {
    if (bits != nullptr) return static_cast<uint64_t>(bits[2 * row + 1]) << 32 | bits[2 * row];
    RandomCounter counter = Advance(first, base);
    counter.index = static_cast<uint16_t>(counter.index + row);
    return RandomBits(seed, counter);
  }
};

TF_KERNEL(kMaxThreads)
CategoricalKernel(const float* probabilities, int64_t stride, int64_t count, RandomSource source, int32_t without,
                  int32_t* out) {
  const float* const p = probabilities + gpu::BlockX() * stride;
  const int pieces = gpu::BlockThreads() / gpu::kWarpThreads;
  double* const sums = gpu::Shared<double>();
  int64_t begin = 0, end = count, length = (count + pieces - 1) / pieces;
  SumPieces(p, begin, length, end, sums);
  double total = 0;
  for (int i = 0; i < pieces; ++i) total += sums[i];
  if (!(total > 0 && total <= std::numeric_limits<double>::max())) {
    if (gpu::ThreadIndex() == 0) out[gpu::BlockX()] = without;
    return;
  }
  const double target = Uniform(source.BitsOf(gpu::BlockX())) * total;
  double before = 0;  // the sum of all pieces before `begin`
  for (;;) {
    int chosen = 0;
    double running = before;
    for (int i = 0; i < pieces && running <= target; ++i) {
      if (sums[i] > 0) chosen = i, before = running;
      running += sums[i];
    }
    begin += chosen * length;
    end = begin + length < end ? begin + length : end;
    if (length == 1) break;
    length = (length + pieces - 1) / pieces;
    gpu::SyncThreads();
    SumPieces(p, begin, length, end, sums);
  }
  if (gpu::ThreadIndex() == 0) out[gpu::BlockX()] = static_cast<int32_t>(begin);
}

}  // namespace

void CategoricalCuda(CudaLane& lane, const CategoricalArgs& args) {
  const int64_t count = args.probabilities.dim(1);
  const int threads = count > 1024 ? kMaxThreads : 128;
  const RandomSource source{
      args.random_bits ? reinterpret_cast<const uint32_t*>(args.random_bits.as<int32_t>()) : nullptr, args.seed,
      args.first, args.base ? args.base.as<int64_t>() : nullptr};
  Launch<CategoricalKernel>(lane, "categorical",
                            {.x = args.probabilities.dim(0),
                             .threads = threads,
                             .shared_bytes = threads / gpu::kWarpThreads * static_cast<int64_t>(sizeof(double))},
                            args.probabilities.as<float>(), args.probabilities.stride(0), count, source, args.without,
                            args.out.as<int32_t>());
}

}  // namespace triforce
