// Embed on CUDA: a block a row.
#include "kernels/core/gpu_launch.h"
#include "kernels/ops/embed.h"

namespace triforce {
namespace {

constexpr int kThreads = 128;

template <typename T>
TF_KERNEL(kThreads)
EmbedKernel(const T* table, const int32_t* ids, float* out, int64_t vocab, int64_t hidden, int64_t out_stride) {
  const int64_t id = ids[gpu::BlockX()];
  if (id < 0 || id >= vocab) gpu::Trap("embed: an id outside the table");
  for (int64_t i = gpu::ThreadIndex(); i < hidden; i += kThreads) {
    out[gpu::BlockX() * out_stride + i] = gpu::ToFloat(table[id * hidden + i]);
  }
}

}  // namespace

void EmbedCuda(CudaLane& lane, const EmbedArgs& args) {
  WithFloatType(args.table.dtype(), [&]<typename T>(T) {
    Launch<EmbedKernel<T>>(lane, "embed", {.x = args.ids.dim(0), .threads = kThreads}, args.table.as<T>(),
                           args.ids.as<int32_t>(), args.out.as<float>(), args.table.dim(0), args.table.dim(1),
                           args.out.stride(0));
  });
}

}  // namespace triforce
