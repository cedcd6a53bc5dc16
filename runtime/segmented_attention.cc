#include "runtime/segmented_attention.h"

#include <algorithm>

#include "kernels/core/check.h"

namespace triforce {

SegmentedAttention::SegmentedAttention(Lane& lane, const AttentionMemory& memory, const AttentionArgs& args,
                                       const TensorView& out)
    : lane_(lane),
      memory_(memory),
      args_(args),
      state_{out, memory.max.Slice(0, 0, args.rows()), memory.sum.Slice(0, 0, args.rows())} {}

void SegmentedAttention::Take(const KvView& kv, bool last) {
  const int64_t rows = args_.rows(), group = args_.heads() / kv.kv_heads, head_dim = kv.head_dim();
  const int64_t per_entry = rows * group * (head_dim + 2);
  const int64_t most = memory_.partials.elements() / per_entry;
  TF_CHECK(most >= 1, "{} rows", rows);
  for (int64_t begin = 0; begin < kv.entries(); begin += most) {
    args_.kv = kv.Slice(begin, std::min(begin + most, kv.entries()));
    const int64_t entries = args_.kv.entries(), n = entries * rows * group;
    const auto cut = [&](int64_t from, int64_t count) { return memory_.partials.Slice(0, from, from + count); };
    const AttentionPartials partials{cut(0, n * head_dim).Reshape({entries, rows, group, head_dim}),
                                     cut(n * head_dim, n).Reshape({entries, rows, group}),
                                     cut(n * (head_dim + 1), n).Reshape({entries, rows, group})};
    AttentionPartial(lane_, args_, partials);
    AttentionMerge(lane_, {.partials = partials,
                           .kv_heads = kv.kv_heads,
                           .first_entry = args_.kv.first_entry,
                           .state = state_,
                           .first = first_,
                           .last = last && begin + most >= kv.entries()});
    first_ = false;
  }
}

}  // namespace triforce
