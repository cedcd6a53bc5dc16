#include "kernels/ops/kv_gather.h"

#include <cstddef>
#include <cstring>

#include "kernels/core/cpu_lane.h"
#include "kernels/core/cuda_lane.h"

namespace triforce {

[[gnu::weak]] void KvGatherCuda(CudaLane& lane, const KvGatherArgs& args);  // kv_gather_cuda.cu

namespace {

void Check(const KvGatherArgs& args) {
  CheckKvView(args.from);
  CheckKvView(args.to);
  TF_CHECK(args.from.first_entry == 0 && args.from.kv_heads == args.to.kv_heads &&
               args.from.dtype() == args.to.dtype() && args.from.head_dim() == args.to.head_dim(),
           "from {}, to {}", args.from.blocks.ToString(), args.to.blocks.ToString());
  TF_CHECK(args.order.rank() == 2 && args.order.dtype() == DType::kI32 && args.order.dense() &&
               args.order.dim(0) == args.from.kv_heads && args.chunks <= args.order.dim(1) && args.chunks >= 0 &&
               args.chunk_tokens >= kKeyTile && args.chunk_tokens % kKeyTile == 0 &&
               kKvBlock % args.chunk_tokens == 0 && args.chunks * args.chunk_tokens <= args.from.end_position(),
           "order {}, {} chunks", args.order.ToString(), args.chunks);
}

void GatherEntry(const KvGatherArgs& args, int64_t entry) {
  const int64_t kv_head = args.to.HeadOf(entry), block = args.to.BlockOf(entry);
  const int64_t block_chunks = kKvBlock / args.chunk_tokens;
  const int64_t chunk_bytes = args.from.entry_bytes() / (2 * block_chunks);
  const auto* order = args.order.as<int32_t>() + kv_head * args.order.stride(0);
  std::byte* const to = static_cast<std::byte*>(args.to.blocks.data()) + entry * args.to.entry_bytes();
  for (int64_t i = 0; i < block_chunks && block * block_chunks + i < args.chunks; ++i) {
    const int64_t chunk = order[block * block_chunks + i];
    TF_CHECK(chunk >= 0 && chunk < args.chunks, "chunk {} of {}", chunk, args.chunks);
    const int64_t from_entry = chunk / block_chunks * args.from.kv_heads + kv_head;
    const std::byte* const from = static_cast<const std::byte*>(args.from.blocks.data()) +
                                  from_entry * args.from.entry_bytes() + chunk % block_chunks * chunk_bytes;
    std::memcpy(to + i * chunk_bytes, from, chunk_bytes);                                                // keys
    std::memcpy(to + (block_chunks + i) * chunk_bytes, from + block_chunks * chunk_bytes, chunk_bytes);  // values
  }
}

}  // namespace

// Copies only: the plain version is the fast one.
void KvGather(Lane& lane, const KvGatherArgs& args) {
  Check(args);
  if (CudaLane* const cuda = AsCuda(lane)) return KvGatherCuda(*cuda, args);
  AsCpu(lane).Run("kv_gather", [args](Team& team) {
    team.For(args.to.entries(), [&](Worker&, int64_t entry) { GatherEntry(args, entry); });
  });
}

}  // namespace triforce
