#include "runtime/decode_cache.h"

#include "kernels/ops/kv_append.h"

namespace triforce {

void DecodeCache::Attend(Lane& lane, const LayerAttention& a) {
  const int64_t rows = a.q.dim(0), tokens = store_.tokens();
  const KvView resident = store_.Resident(a.layer);
  const KvView tail = store_.Tail(a.layer);
  KvAppend(lane, {a.k, a.v, tokens, tail});
  if (index_ != nullptr) index_->Keep(lane, a.layer, a.q, tokens);
  SegmentedAttention attention(lane, memory_,
                               {.q = a.q, .kv = {}, .visible = tokens + 1, .causal = true, .scale = scale_}, a.out);
  if (resident.entries() > 0) attention.Take(resident, false);
  for (const StreamedEntries& run : store_.Streamed(a.layer)) {
    const SlotLease slot = ring_->Next(lane);
    attention.Take(store_.EntriesAt(slot.data(), run.first_entry, run.entries), false);
  }
  const int64_t tail_blocks = KvBlocks(tokens + rows) - store_.tail_first_block();
  attention.Take(tail.Slice(0, tail_blocks * tail.kv_heads), true);
}

}  // namespace triforce
