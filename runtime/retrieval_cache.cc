#include "runtime/retrieval_cache.h"

#include "kernels/ops/kv_append.h"

namespace triforce {

void RetrievalCache::Attend(Lane& lane, const LayerAttention& a) {
  const TensorView position = base_ ? base_.Slice(0, 0, 1) : base_, seen = base_ ? base_.Slice(0, 1, 2) : base_;
  const int64_t visible = base_ ? 0 : index_.VisibleTo(position_);
  KvAppend(lane, {a.k, a.v, base_ ? 0 : position_, store_.Tail(a.layer), position});
  const auto attend = [&](const LayerAttention& rows, int64_t first) {
    const int64_t last = base_ ? most_visible_ : first + rows.q.dim(0) - 1;
    SegmentedAttention(lane, memory_,
                       {.q = rows.q, .kv = {}, .visible = first, .causal = true, .scale = scale_, .base = seen},
                       rows.out)
        .Take(index_.View(a.layer, last), true);
  };
  if (!oracle_) return attend(a, visible);
  TF_CHECK(!base_);
  for (int64_t row = 0; row < a.q.dim(0); ++row) {
    LayerAttention one = a;
    one.q = a.q.Slice(0, row, row + 1);
    one.out = a.out.Slice(0, row, row + 1);
    index_.SelectByMass(lane, a.layer, one.q.Reshape({a.q.dim(1), a.q.dim(2)}));
    attend(one, visible + row);
  }
}

}  // namespace triforce
