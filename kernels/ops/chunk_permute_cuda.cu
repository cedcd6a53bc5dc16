// ChunkPermute on CUDA: a thread an element.
#include <cstdint>

#include "kernels/core/gpu_launch.h"
#include "kernels/ops/chunk_permute.h"

namespace triforce {
namespace {

constexpr int kThreads = 256;

struct Params {
  const float* from;     // [kv_heads, from_stride]
  const int32_t* order;  // [kv_heads, order_stride]
  int64_t from_stride;
  int64_t order_stride;
  int64_t to_stride;
  int64_t chunks;
  int64_t head_dim;
};

template <typename T>
TF_KERNEL(kThreads)
ChunkPermuteKernel(Params p, T* to) {
  const int64_t i = gpu::BlockX() * kThreads + gpu::ThreadIndex();
  if (i >= p.chunks * p.head_dim) return;
  const int64_t chunk = p.order[gpu::BlockY() * p.order_stride + i / p.head_dim];
  if (chunk < 0 || chunk >= p.chunks) gpu::Trap("chunk_permute: an order of chunks that there are not");
  to[gpu::BlockY() * p.to_stride + i] =
      gpu::FromFloat<T>(p.from[gpu::BlockY() * p.from_stride + chunk * p.head_dim + i % p.head_dim]);
}

}  // namespace

void ChunkPermuteCuda(CudaLane& lane, const ChunkPermuteArgs& args) {
  const Params params{
      .from = args.from.as<float>(),
      .order = args.order.as<int32_t>(),
      .from_stride = args.from.stride(0),
      .order_stride = args.order.stride(0),
      .to_stride = args.to.stride(0),
      .chunks = args.chunks,
      .head_dim = args.from.dim(2),
  };
  WithFloatType(args.to.dtype(), [&]<typename T>(T) {
    Launch<ChunkPermuteKernel<T>>(
        lane, "chunk_permute",
        {.x = (params.chunks * params.head_dim + kThreads - 1) / kThreads, .y = args.from.dim(0), .threads = kThreads},
        params, args.to.as<T>());
  });
}

}  // namespace triforce
