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
  const bool weighs = index_ != nullptr && index_->weighs();
  const TensorView first_query = a.q.Slice(0, 0, 1).Reshape({a.q.dim(1), a.q.dim(2)});
  const auto take = [&](const KvView& kv, bool last) {
    attention.Take(kv, last);
    if (weighs) index_->Weigh(lane, first_query, kv);
  };
  if (resident.entries() > 0) take(resident, false);
  for (const StreamedEntries& run : store_.Streamed(a.layer)) {
    const SlotLease slot = ring_->Next(lane);
    take(store_.EntriesAt(slot.data(), run.first_entry, run.entries), false);
  }
  const int64_t tail_blocks = KvBlocks(tokens + rows) - store_.tail_first_block();
  take(tail.Slice(0, tail_blocks * tail.kv_heads), true);
  if (weighs) index_->EndWeighing(lane, a.layer);
}

}  // namespace triforce
