#include "runtime/decode_cache.h"

#include <algorithm>

#include "kernels/core/check.h"
#include "kernels/ops/kv_append.h"

namespace triforce {

void DecodeCache::Attend(Lane& lane, const LayerAttention& a) {
  const int64_t rows = a.q.dim(0), tokens = store_.tokens();
  const KvView resident = store_.Resident(a.layer);
  const KvView tail = store_.Tail(a.layer);
  const auto of_rows = [rows](const TensorView& t) { return t.Slice(0, 0, rows); };
  const AttentionState state{a.out, of_rows(memory_.max), of_rows(memory_.sum)};
  AttentionArgs args{.q = a.q, .kv = resident, .visible = tokens + 1, .causal = true, .scale = scale_};
  KvAppend(lane, {a.k, a.v, tokens, tail});
  bool first = true;
  if (resident.entries() > 0) {
    Take(lane, args, state, first, false);
    first = false;
  }
  for (const StreamedEntries& run : store_.Streamed(a.layer)) {
    const SlotLease slot = ring_->Next(lane);
    args.kv = store_.EntriesAt(slot.data(), run.first_entry, run.entries);
    Take(lane, args, state, first, false);
    first = false;
  }
  const int64_t tail_blocks = KvBlocks(tokens + rows) - store_.tail_first_block();
  args.kv = tail.Slice(0, tail_blocks * tail.kv_heads);
  Take(lane, args, state, first, true);
}

void DecodeCache::Take(Lane& lane, const AttentionArgs& args, const AttentionState& state, bool first,
                       bool last) const {
  const int64_t rows = args.rows(), group = args.group(), head_dim = args.kv.head_dim();
  const int64_t per_entry = rows * group * (head_dim + 2);
  const int64_t most = memory_.partials.elements() / per_entry;
  TF_CHECK(most >= 1, "{} rows", rows);
  for (int64_t begin = 0; begin < args.kv.entries(); begin += most) {
    AttentionArgs part = args;
    part.kv = args.kv.Slice(begin, std::min(begin + most, args.kv.entries()));
    const int64_t entries = part.kv.entries(), n = entries * rows * group;
    const auto cut = [&](int64_t from, int64_t count) { return memory_.partials.Slice(0, from, from + count); };
    const AttentionPartials partials{cut(0, n * head_dim).Reshape({entries, rows, group, head_dim}),
                                     cut(n * head_dim, n).Reshape({entries, rows, group}),
                                     cut(n * (head_dim + 1), n).Reshape({entries, rows, group})};
    AttentionPartial(lane, part, partials);
    AttentionMerge(lane, {.partials = partials,
                          .kv_heads = part.kv.kv_heads,
                          .first_entry = part.kv.first_entry,
                          .state = state,
                          .first = first && begin == 0,
                          .last = last && begin + most >= args.kv.entries()});
  }
}

}  // namespace triforce
