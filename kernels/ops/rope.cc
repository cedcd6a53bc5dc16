#include "kernels/ops/rope.h"

#include <cmath>

#include "kernels/core/cpu_lane.h"
#include "kernels/core/cuda_lane.h"
#include "kernels/ops/device_scalar.h"

namespace triforce {

void RopeTableCpu(Team& team, const RopeTableArgs& args);                     // rope_cpu.cc
void RopeCpu(Team& team, const RopeArgs& args);                               // rope_cpu.cc
[[gnu::weak]] void RopeTableCuda(CudaLane& lane, const RopeTableArgs& args);  // rope_cuda.cu
[[gnu::weak]] void RopeCuda(CudaLane& lane, const RopeArgs& args);            // rope_cuda.cu

namespace {

void CheckTable(const TensorView& t, int64_t rows, int64_t half) {
  TF_CHECK(t.rank() == 2 && t.dtype() == DType::kF32 && t.dense() && t.dim(0) == rows && t.dim(1) == half,
           "{}, expected [{}, {}]", t.ToString(), rows, half);
}

void Check(const RopeTableArgs& args) {
  TF_CHECK(args.positions.rank() == 1 && args.positions.dtype() == DType::kI32 && args.positions.dense(), "{}",
           args.positions.ToString());
  TF_CHECK(args.inverse_frequency.rank() == 1 && args.inverse_frequency.dtype() == DType::kF32, "{}",
           args.inverse_frequency.ToString());
  for (const TensorView& t : {args.cos, args.sin}) {
    CheckTable(t, args.positions.dim(0), args.inverse_frequency.dim(0));
  }
  CheckDeviceScalar(args.base);
}

void Check(const RopeArgs& args) {
  const TensorView& x = args.x;
  TF_CHECK(x.rank() == 3 && x.dtype() == DType::kF32 && x.dense_rows() && x.dim(2) % 2 == 0, "{}", x.ToString());
  for (const TensorView& t : {args.cos, args.sin}) CheckTable(t, x.dim(0), x.dim(2) / 2);
}

}  // namespace

void RopeTable(Lane& lane, const RopeTableArgs& args) {
  Check(args);
  if (CudaLane* const cuda = AsCuda(lane)) return RopeTableCuda(*cuda, args);
  AsCpu(lane).Run("rope_table", [args](Team& team) { RopeTableCpu(team, args); });
}

void Rope(Lane& lane, const RopeArgs& args) {
  Check(args);
  if (CudaLane* const cuda = AsCuda(lane)) return RopeCuda(*cuda, args);
  AsCpu(lane).Run("rope", [args](Team& team) { RopeCpu(team, args); });
}

void RopeTableReference(const RopeTableArgs& args) {
  Check(args);
  const int64_t half = args.inverse_frequency.dim(0), base = ValueOfScalar(args.base);
  for (int64_t row = 0; row < args.positions.dim(0); ++row) {
    for (int64_t i = 0; i < half; ++i) {
      const float angle =
          static_cast<float>(args.positions.as<int32_t>()[row] + base) * args.inverse_frequency.as<float>()[i];
      args.cos.as<float>()[row * half + i] = static_cast<float>(std::cos(static_cast<double>(angle))) * args.scaling;
      args.sin.as<float>()[row * half + i] = static_cast<float>(std::sin(static_cast<double>(angle))) * args.scaling;
    }
  }
}

void RopeReference(const RopeArgs& args) {
  Check(args);
  const int64_t heads = args.x.dim(1), head_dim = args.x.dim(2), half = head_dim / 2;
  for (int64_t row = 0; row < args.x.dim(0); ++row) {
    for (int64_t j = 0; j < heads * half; ++j) {
      float* x = args.x.as<float>() + row * args.x.stride(0) + j / half * head_dim + j % half;
      const double cos = args.cos.as<float>()[row * half + j % half], sin = args.sin.as<float>()[row * half + j % half];
      const double first = x[0], second = x[half];
      x[0] = static_cast<float>(first * cos - second * sin);
      x[half] = static_cast<float>(second * cos + first * sin);
    }
  }
}

}  // namespace triforce
