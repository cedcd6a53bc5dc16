// Argmax on CUDA: a block a row.
#include "kernels/core/gpu_launch.h"
#include "kernels/ops/argmax.h"
#include "kernels/ops/row_block.h"

namespace triforce {
namespace {

TF_KERNEL(kMaxRowThreads)
ArgmaxKernel(const float* values, int64_t stride, int64_t count, int32_t* out, float* largest) {
  const float* const row = values + gpu::BlockX() * stride;
  const int64_t place = PlaceOfLargest(row, count, gpu::Shared<uint64_t>());
  if (gpu::ThreadIndex() != 0) return;
  out[gpu::BlockX()] = static_cast<int32_t>(place);
  if (largest != nullptr) largest[gpu::BlockX()] = row[place];
}

}  // namespace

void ArgmaxCuda(CudaLane& lane, const ArgmaxArgs& args) {
  const int64_t count = args.values.dim(1);
  Launch<ArgmaxKernel>(
      lane, "argmax",
      {.x = args.values.dim(0), .threads = RowThreads(count), .shared_bytes = gpu::kWarpThreads * sizeof(uint64_t)},
      args.values.as<float>(), args.values.stride(0), count, args.out.as<int32_t>(),
      args.largest ? args.largest.as<float>() : nullptr);
}

}  // namespace triforce
