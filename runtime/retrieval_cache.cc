#include "runtime/retrieval_cache.h"

#include "kernels/ops/kv_append.h"

namespace triforce {

void RetrievalCache::Attend(Lane& lane, const LayerAttention& a) {
  const int64_t visible = index_.VisibleTo(position_);
  KvAppend(lane, {a.k, a.v, position_, store_.Tail(a.layer)});
  SegmentedAttention(lane, memory_, {.q = a.q, .kv = {}, .visible = visible, .causal = true, .scale = scale_}, a.out)
      .Take(index_.View(a.layer, visible + a.q.dim(0) - 1), true);
}

}  // namespace triforce
