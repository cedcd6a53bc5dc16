#include "kernels/ops/categorical.h"

#include <cmath>

#include "kernels/core/cpu_lane.h"
#include "kernels/core/cuda_lane.h"
#include "kernels/core/random.h"
#include "kernels/ops/device_counter.h"

namespace triforce {

[[gnu::weak]] void CategoricalCuda(CudaLane& lane, const CategoricalArgs& args);  // categorical_cuda.cu

namespace {

void Check(const CategoricalArgs& args) {
  const TensorView& p = args.probabilities;
  TF_CHECK(p.rank() == 2 && p.dtype() == DType::kF32 && p.dense_rows(), "{}", p.ToString());
  TF_CHECK(!args.random_bits ||
               (args.random_bits.rank() == 2 && args.random_bits.dtype() == DType::kI32 && args.random_bits.dense() &&
                args.random_bits.dim(0) == p.dim(0) && args.random_bits.dim(1) == 2),
           "{}", args.random_bits.ToString());
  TF_CHECK(args.out.rank() == 1 && args.out.dtype() == DType::kI32 && args.out.dense() && args.out.dim(0) == p.dim(0),
           "{}", args.out.ToString());
  CheckDeviceCounter(args.base);
}

uint64_t BitsOf(const CategoricalArgs& args, int64_t row) {
  if (args.random_bits) {
    const uint32_t* bits = reinterpret_cast<const uint32_t*>(args.random_bits.as<int32_t>()) + 2 * row;
    return static_cast<uint64_t>(bits[1]) << 32 | bits[0];
  }
  RandomCounter counter = Advance(args.first, args.base ? args.base.as<int64_t>() : nullptr);
  counter.index = static_cast<uint16_t>(counter.index + row);
  return RandomBits(args.seed, counter);
}

int32_t Draw(const float* p, int64_t count, double u, int32_t without) {
  double total = 0;
  for (int64_t i = 0; i < count; ++i) total += p[i];
  if (!(total > 0) || !std::isfinite(total)) return without;
  double sum = 0;
  for (int64_t i = 0; i < count; ++i) {
    sum += p[i];
    if (sum > u * total) return static_cast<int32_t>(i);
  }
  return without;  // not reached: sum ends at total, and u < 1
}

}  // namespace

// One pass of additions in order: there is nothing to share out, so this is the fast version too.
void Categorical(Lane& lane, const CategoricalArgs& args) {
  Check(args);
  if (CudaLane* const cuda = AsCuda(lane)) return CategoricalCuda(*cuda, args);
  AsCpu(lane).Run("categorical", [args](Team& team) {
    team.For(args.probabilities.dim(0), [&](Worker&, int64_t row) {
      args.out.as<int32_t>()[row] = Draw(args.probabilities.as<float>() + row * args.probabilities.stride(0),
                                         args.probabilities.dim(1), Uniform(BitsOf(args, row)), args.without);
    });
  });
}

}  // namespace triforce
