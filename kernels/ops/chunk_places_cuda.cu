// ChunkPlaces on CUDA: a thread a chunk.
#include <cstdint>

#include "kernels/core/gpu_launch.h"
#include "kernels/ops/chunk_places.h"

namespace triforce {
namespace {

constexpr int kThreads = 256;

TF_KERNEL(kThreads)
ChunkPlacesKernel(const int32_t* order, int64_t order_stride, int64_t chunks, int64_t first, int64_t last,
                  int32_t* all_places) {
  const int64_t i = gpu::BlockX() * kThreads + gpu::ThreadIndex();
  if (i >= chunks) return;
  const int64_t chunk = order[gpu::BlockY() * order_stride + i], of_last = chunk - (chunks - last);
  if (chunk < 0 || chunk >= chunks) gpu::Trap("chunk_places: an order of chunks that there are not");
  int32_t* const places = all_places + gpu::BlockY() * (first + last);
  if (chunk < first) places[chunk] = static_cast<int32_t>(i);
  if (of_last >= 0) places[first + of_last] = static_cast<int32_t>(i);
}

}  // namespace

void ChunkPlacesCuda(CudaLane& lane, const ChunkPlacesArgs& args) {
  Launch<ChunkPlacesKernel>(
      lane, "chunk_places", {.x = (args.chunks + kThreads - 1) / kThreads, .y = args.order.dim(0), .threads = kThreads},
      args.order.as<int32_t>(), args.order.stride(0), args.chunks, args.first, args.last, args.places.as<int32_t>());
}

}  // namespace triforce
