#include "runtime/retrieval_cache.h"

#include "kernels/ops/kv_append.h"

namespace triforce {

void RetrievalCache::Attend(Lane& lane, const LayerAttention& a) {
  const int64_t visible = index_.VisibleTo(position_);
  KvAppend(lane, {a.k, a.v, position_, store_.Tail(a.layer)});
  const auto attend = [&](const LayerAttention& rows, int64_t first) {
    SegmentedAttention(lane, memory_, {.q = rows.q, .kv = {}, .visible = first, .causal = true, .scale = scale_},
                       rows.out)
        .Take(index_.View(a.layer, first + rows.q.dim(0) - 1), true);
  };
  if (!oracle_) return attend(a, visible);
  for (int64_t row = 0; row < a.q.dim(0); ++row) {
    LayerAttention one = a;
    one.q = a.q.Slice(0, row, row + 1);
    one.out = a.out.Slice(0, row, row + 1);
    index_.SelectByMass(lane, a.layer, one.q.Reshape({a.q.dim(1), a.q.dim(2)}));
    attend(one, visible + row);
  }
}

}  // namespace triforce
