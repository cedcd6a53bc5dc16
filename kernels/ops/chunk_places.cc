#include "kernels/ops/chunk_places.h"

#include "kernels/core/cpu_lane.h"
#include "kernels/core/cuda_lane.h"

namespace triforce {

[[gnu::weak]] void ChunkPlacesCuda(CudaLane& lane, const ChunkPlacesArgs& args);  // chunk_places_cuda.cu

// Once a prompt, one pass over its chunks.
void ChunkPlaces(Lane& lane, const ChunkPlacesArgs& args) {
  for (const TensorView& t : {args.order, args.places}) {
    TF_CHECK(t.rank() == 2 && t.dtype() == DType::kI32 && t.dense(), "{}", t.ToString());
  }
  TF_CHECK(args.order.dim(0) == args.places.dim(0) && args.chunks <= args.order.dim(1) &&
               args.places.dim(1) == args.first + args.last && args.first >= 0 && args.first <= args.chunks &&
               args.last >= 0 && args.last <= args.chunks,
           "{} first and {} last of {} chunks", args.first, args.last, args.chunks);
  if (CudaLane* const cuda = AsCuda(lane)) return ChunkPlacesCuda(*cuda, args);
  AsCpu(lane).Run("chunk_places", [args](Team& team) {
    team.For(args.order.dim(0), [&](Worker&, int64_t kv_head) {
      const auto* const order = args.order.as<int32_t>() + kv_head * args.order.stride(0);
      auto* const places = args.places.as<int32_t>() + kv_head * args.places.stride(0);
      for (int64_t i = 0; i < args.chunks; ++i) {
        const int64_t chunk = order[i], of_last = chunk - (args.chunks - args.last);
        TF_CHECK(chunk >= 0 && chunk < args.chunks, "chunk {} of {}", chunk, args.chunks);
        if (chunk < args.first) places[chunk] = static_cast<int32_t>(i);
        if (of_last >= 0) places[args.first + of_last] = static_cast<int32_t>(i);
      }
    });
  });
}

}  // namespace triforce
