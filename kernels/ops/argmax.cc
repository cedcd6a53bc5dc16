#include "kernels/ops/argmax.h"

#include <limits>

#include "kernels/core/cpu_lane.h"
#include "kernels/core/cuda_lane.h"

namespace triforce {

void ArgmaxCpu(Team& team, const ArgmaxArgs& args);                     // argmax_cpu.cc
[[gnu::weak]] void ArgmaxCuda(CudaLane& lane, const ArgmaxArgs& args);  // argmax_cuda.cu

namespace {

void Check(const ArgmaxArgs& args) {
  TF_CHECK(args.values.rank() == 2 && args.values.dtype() == DType::kF32 && args.values.dense_rows() &&
               args.values.dim(1) > 0,
           "{}", args.values.ToString());
  TF_CHECK(args.out.rank() == 1 && args.out.dtype() == DType::kI32 && args.out.dense() &&
               args.out.dim(0) == args.values.dim(0),
           "{}", args.out.ToString());
  if (!args.largest) return;
  TF_CHECK(args.largest.rank() == 1 && args.largest.dtype() == DType::kF32 && args.largest.dense() &&
               args.largest.dim(0) == args.values.dim(0),
           "{}", args.largest.ToString());
}

}  // namespace

void Argmax(Lane& lane, const ArgmaxArgs& args) {
  Check(args);
  if (CudaLane* const cuda = AsCuda(lane)) return ArgmaxCuda(*cuda, args);
  AsCpu(lane).Run("argmax", [args](Team& team) { ArgmaxCpu(team, args); });
}

void ArgmaxReference(const ArgmaxArgs& args) {
  Check(args);
  for (int64_t row = 0; row < args.values.dim(0); ++row) {
    const float* values = args.values.as<float>() + row * args.values.stride(0);
    float most = -std::numeric_limits<float>::infinity();
    int32_t place = 0;
    for (int64_t i = 0; i < args.values.dim(1); ++i) {
      if (values[i] > most) most = values[i], place = static_cast<int32_t>(i);
    }
    args.out.as<int32_t>()[row] = place;
    if (args.largest) args.largest.as<float>()[row] = values[place];
  }
}

}  // namespace triforce
