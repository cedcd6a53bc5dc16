// KvGather on CUDA: a block a chunk of `to`.
#include "kernels/core/gpu_launch.h"
#include "kernels/ops/kv_gather.h"

namespace triforce {
namespace {

constexpr int kThreads = 128;

struct Gathered {
  const std::byte* from;  // blocks, of entry_bytes each, the keys first
  std::byte* to;
  int64_t entry_bytes;
  int64_t kv_heads;
  int64_t first_entry;   // of `to`
  int64_t block_chunks;  // chunks of a block
  const int32_t* order;  // [kv_heads, order_stride]
  int64_t order_stride;
  int64_t chunks;
};

TF_KERNEL(kThreads) KvGatherKernel(Gathered g) {
  const int64_t entry = gpu::BlockX() / g.block_chunks, place = gpu::BlockX() % g.block_chunks;
  const int64_t kv_head = (g.first_entry + entry) % g.kv_heads;
  const int64_t storage = (g.first_entry + entry) / g.kv_heads * g.block_chunks + place;
  if (storage >= g.chunks) return;
  const int64_t chunk = g.order[kv_head * g.order_stride + storage];
  if (chunk < 0 || chunk >= g.chunks) gpu::Trap("kv_gather: a chunk that there is not");
  // 8 tokens of an even head_dim at least: a multiple of 16 bytes in any type.
  const int64_t half_bytes = g.entry_bytes / 2, chunk_bytes = half_bytes / g.block_chunks;
  const std::byte* const from =
      g.from + (chunk / g.block_chunks * g.kv_heads + kv_head) * g.entry_bytes + chunk % g.block_chunks * chunk_bytes;
  std::byte* const to = g.to + entry * g.entry_bytes + place * chunk_bytes;
  for (int i = gpu::ThreadIndex() * 16; i < static_cast<int>(chunk_bytes); i += kThreads * 16) {
    const gpu::Words4 keys = gpu::LoadOnce16(from + i), values = gpu::LoadOnce16(from + half_bytes + i);
    *reinterpret_cast<gpu::Words4*>(to + i) = keys;
    *reinterpret_cast<gpu::Words4*>(to + half_bytes + i) = values;
  }
}

}  // namespace

void KvGatherCuda(CudaLane& lane, const KvGatherArgs& args) {
  const int64_t block_chunks = kKvBlock / args.chunk_tokens;
  Launch<KvGatherKernel>(lane, "kv_gather", {.x = args.to.entries() * block_chunks, .threads = kThreads},
                         Gathered{.from = static_cast<const std::byte*>(args.from.blocks.data()),
                                  .to = static_cast<std::byte*>(args.to.blocks.data()),
                                  .entry_bytes = args.to.entry_bytes(),
                                  .kv_heads = args.to.kv_heads,
                                  .first_entry = args.to.first_entry,
                                  .block_chunks = block_chunks,
                                  .order = args.order.as<int32_t>(),
                                  .order_stride = args.order.stride(0),
                                  .chunks = args.chunks});
}

}  // namespace triforce
