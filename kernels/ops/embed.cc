#include "kernels/ops/embed.h"

#include "kernels/core/cpu_lane.h"
#include "kernels/core/cuda_lane.h"

namespace triforce {

void EmbedCpu(Team& team, const EmbedArgs& args);                     // embed_cpu.cc
[[gnu::weak]] void EmbedCuda(CudaLane& lane, const EmbedArgs& args);  // embed_cuda.cu

namespace {

void Check(const EmbedArgs& args) {
  TF_CHECK(args.table.rank() == 2 && args.table.dense(), "table {}", args.table.ToString());
  TF_CHECK(args.ids.rank() == 1 && args.ids.dtype() == DType::kI32 && args.ids.dense(), "ids {}", args.ids.ToString());
  TF_CHECK(args.out.rank() == 2 && args.out.dtype() == DType::kF32 && args.out.dense_rows() &&
               args.out.dim(0) == args.ids.dim(0) && args.out.dim(1) == args.table.dim(1),
           "out {}", args.out.ToString());
}

}  // namespace

void Embed(Lane& lane, const EmbedArgs& args) {
  Check(args);
  if (CudaLane* const cuda = AsCuda(lane)) return EmbedCuda(*cuda, args);
  AsCpu(lane).Run("embed", [args](Team& team) { EmbedCpu(team, args); });
}

void EmbedReference(const EmbedArgs& args) {
  Check(args);
  WithFloatType(args.table.dtype(), [&]<typename T>(T) {
    for (int64_t row = 0; row < args.ids.dim(0); ++row) {
      for (int64_t i = 0; i < args.table.dim(1); ++i) {
        args.out.as<float>()[row * args.out.stride(0) + i] =
            ToF32(args.table.as<T>()[args.ids.as<int32_t>()[row] * args.table.dim(1) + i]);
      }
    }
  });
}

}  // namespace triforce
