// KvStore: the KV of one sequence in the places that the plan has for it, and its moves between them.
//
// Per layer the KV is one sequence of entries (kernels/ops/kv_view.h), in three parts:
//   stored   blocks [0, tail_first_block): the first KvPlan::resident of them on the device, the next on the host, the
//            last on disk. Behind a prompt its whole chunks are ranked and lie here by rank, so that what the prompt's
//            last query wants most is resident. What is stored does not change.
//   tail     the blocks behind them, on the device: the end of the prompt's ranked chunks that fills no block, its
//            last tokens (RankedChunks leaves at least one) and all that come later. When it is full its whole blocks
//            are folded into the store; they keep their storage positions, and so results their bits.
//
// Where nothing is ranked, storage order is token order. Not thread-safe; device, lanes, ring, pool and tier outlive
// it.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/core/arena.h"
#include "kernels/core/device.h"
#include "kernels/core/lane.h"
#include "kernels/ops/kv_view.h"
#include "offload/disk_tier.h"
#include "offload/host_pool.h"
#include "offload/plan.h"
#include "offload/ring.h"
#include "offload/transfer.h"

namespace triforce {

// A run of stored entries that is streamed in one piece.
struct StreamedEntries {
  int64_t first_entry = 0;
  int64_t entries = 0;
  Transfer transfer;
};

class KvStore {
 public:
  // Takes its memory from all tiers. `disk` may be null where the plan has nothing on disk. Throws Error.
  KvStore(Device& device, HostPool& host, DiskTier* disk, const Plan& plan);

  int64_t tokens() const { return tokens_; }
  // REQUIRES: least_tokens() <= tokens, and the tail reaches that far.
  void set_tokens(int64_t tokens);
  // Tokens that a rewind has to leave, or else all are forgotten: those of ranked chunks.
  int64_t least_tokens() const { return ranked_chunks_ * plan_.input.options.chunk_tokens; }
  int64_t ranked_chunks() const { return ranked_chunks_; }
  int64_t tail_first_block() const { return tail_first_block_; }
  // How many tokens the tail can still take.
  int64_t tail_room() const { return (tail_first_block_ + plan_.tail_blocks) * kKvBlock - tokens_; }

  // Stored entries on the device; the tail, whole; and what has to be streamed, in storage order.
  KvView Resident(int64_t layer) const;
  KvView Tail(int64_t layer) const;
  std::span<const StreamedEntries> Streamed(int64_t layer) const { return streamed_[layer]; }
  // A stored entry that does not lie on the device.
  Transfer StoredEntry(int64_t layer, int64_t entry) const { return TransferOf(layer, entry, 1); }
  // Entries of a layer that lie elsewhere, at `data` on the device.
  KvView EntriesAt(std::byte* data, int64_t first_entry, int64_t entries) const;

  // Begins a prompt of `tokens` tokens: what was there is forgotten, and the next is to Place each layer.
  void BeginPrompt(int64_t tokens);
  // Queues: the layer's KV, in token order in `from`, to its places. `order` as in KvGather, for all of the prompt's
  // chunks. `ring` may be null where nothing is streamed; its schedule is empty.
  void Place(Lane& compute, Ring* ring, int64_t layer, const KvView& from, const TensorView& order);

  // Queues: all that `from` holds, to its places here; what was here is forgotten. For several plans of one prompt.
  // `ring` as in Place. REQUIRES: `from` is of the same shape, KV type and tail, streams nothing, and the device of
  // `compute` reaches it.
  void CopyFrom(const KvStore& from, Lane& compute, Ring* ring);

  // Queues: the tail's first block into the store. `ring` as in Place. REQUIRES: the block is full.
  void Fold(Lane& compute, Ring* ring);
  bool can_fold() const { return tokens_ / kKvBlock > tail_first_block_; }
  // Rewinds to `tokens` where they end before the tail: blocks come back from the store. Waits for the lanes.
  // REQUIRES: tokens >= least_tokens() or 0.
  void Rewind(Lane& compute, Link& link, int64_t tokens);

 private:
  struct Layer {
    TensorView resident;  // [KvPlan::resident * kv_heads, 2, kKvBlock * head_dim]
    TensorView tail;      // [tail_blocks * kv_heads, 2, kKvBlock * head_dim]
    std::span<std::byte> host;
    int64_t disk_offset = 0;
  };

  void Cut(Arena& arena);
  void FindStreamed();
  Transfer TransferOf(int64_t layer, int64_t first_entry, int64_t entries) const;
  std::byte* TailBlock(int64_t layer, int64_t block) const;
  void LoadBlock(Lane& compute, Link& link, int64_t layer, int64_t block);

  Device& device_;
  const Plan& plan_;
  const int64_t kv_heads_;
  const int64_t entry_bytes_;
  Arena arena_;
  std::vector<Layer> layers_;
  std::vector<std::vector<StreamedEntries>> streamed_;  // by layer
  int64_t tokens_ = 0;
  int64_t ranked_chunks_ = 0;
  int64_t tail_first_block_ = 0;
};

}  // namespace triforce
