// Attention on the CPU: which blocks and query vectors meet (attention_block-inl.h has what they do), and the merge.
#include <algorithm>
#include <cmath>

#include "kernels/core/team.h"
#include "kernels/ops/attention.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/ops/attention_cpu.cc"
#include <hwy/foreach_target.h>
// After foreach_target.h:
#include "kernels/ops/attention_block-inl.h"

HWY_BEFORE_NAMESPACE();
namespace triforce {
namespace HWY_NAMESPACE {
namespace {

// Query vectors of one item of prefill; they share a block in the caches. Multiples of what registers hold.
constexpr int64_t kPrefillTile = 12;
constexpr int64_t kQueryGroup = 4 * kPrefillTile;
static_assert(kPrefillTile <= kQueryTile);
constexpr int64_t kMaxHeadDim = 256;

// The query vectors of one kv_head, numbered row by row: number n is head n % group of row n / group.
struct Queries {
  const AttentionArgs& args;
  int64_t kv_head;
  int64_t group = args.group();
  int64_t count = args.rows() * group;

  int64_t Row(int64_t n) const { return n / group; }
  int64_t Head(int64_t n) const { return kv_head * group + n % group; }
  const float* Vector(int64_t n) const {
    return args.q.as<float>() + Row(n) * args.q.stride(0) + Head(n) * args.kv.head_dim();
  }
  // Keys of the block at storage position `first` that query vector `n` sees.
  int64_t VisibleIn(int64_t first, int64_t n) const {
    return std::clamp<int64_t>(args.VisibleTo(Row(n)) - first, 0, kKvBlock);
  }
};

// Calls f(first, count) for groups of at most `most` of `count` things, of sizes as equal as can be.
template <typename F>
void ForGroupsOf(int64_t most, int64_t count, const F& f) {
  int64_t first = 0;
  for (int64_t left = (count + most - 1) / most; left > 0; --left) {
    const int64_t size = (count - first + left - 1) / left;
    f(first, static_cast<int>(size));
    first += size;
  }
}

template <typename T>
void PartialsOfEntry(const Queries& queries, int64_t index, int64_t next, const AttentionPartials& partials,
                     float* scores) {
  const int64_t first = queries.args.kv.BlockOf(index) * kKvBlock;
  const Block<T> block = BlockOf<T>(queries.args.kv, index, queries.VisibleIn(first, queries.count - 1), next);
  ForGroupsOf(kQueryTile, queries.count, [&](int64_t n, int count) {
    Tile tile;
    const int64_t entry = index * queries.count + n;  // of partials, as queries are numbered
    for (int r = 0; r < count; ++r) {
      tile.q[r] = queries.Vector(n + r);
      tile.visible[r] = queries.VisibleIn(first, n + r);
      tile.out[r] = partials.out.as<float>() + (entry + r) * block.head_dim;
    }
    TileTimesBlock(tile, count, block, queries.args.scale, scores);
    for (int r = 0; r < count; ++r) {
      partials.max.as<float>()[entry + r] = tile.max[r];
      partials.sum.as<float>()[entry + r] = tile.sum[r];
    }
  });
}

// The merge of partials seen so far: starts empty, takes blocks in order, is normalised at the end.
struct Merged {
  float max = kMinusInfinity;
  float sum = 0;

  // `out` (the state's) and `block_out` are [head_dim].
  HWY_INLINE void Take(float block_max, float block_sum, const float* block_out, int64_t head_dim, float* out) {
    if (block_sum == 0) return;
    const float new_max = std::max(max, block_max);
    // One of the two is exp(0) = 1.
    const float old_scale = max == new_max ? 1.0f : std::exp(max - new_max);
    const float block_scale = block_max == new_max ? 1.0f : std::exp(block_max - new_max);
    max = new_max;
    sum = sum * old_scale + block_sum * block_scale;
    for (int64_t i = 0; i < head_dim; ++i) out[i] = out[i] * old_scale + block_out[i] * block_scale;
  }
  HWY_INLINE void Normalise(int64_t head_dim, float* out) const {
    if (sum == 0) return;
    for (int64_t i = 0; i < head_dim; ++i) out[i] /= sum;
  }
};

template <typename T>
void PrefillGroup(const Queries& queries, int64_t begin, const TensorView& out, float* scratch) {
  const int64_t head_dim = queries.args.kv.head_dim();
  const int64_t end = std::min(begin + kQueryGroup, queries.count);
  float* const scores = scratch;
  float* const block_out = scores + kQueryTile * kKvBlock;  // [kQueryTile, head_dim]
  Merged merged[kQueryGroup];
  const auto out_of = [&](int64_t n) {
    return out.as<float>() + queries.Row(n) * out.stride(0) + queries.Head(n) * head_dim;
  };
  for (int64_t n = begin; n < end; ++n) std::fill_n(out_of(n), head_dim, 0.0f);
  const int64_t visible = queries.args.VisibleTo(queries.Row(end - 1));
  for (int64_t first = 0; first < visible; first += kKvBlock) {
    const Block<T> block = BlockOf<T>(queries.args.kv, first / kKvBlock * queries.args.kv.kv_heads + queries.kv_head,
                                      queries.VisibleIn(first, end - 1),
                                      (first / kKvBlock + 1) * queries.args.kv.kv_heads + queries.kv_head);
    for (int64_t n = begin; n < end; n += kPrefillTile) {
      const int count = static_cast<int>(std::min<int64_t>(kPrefillTile, end - n));
      Tile tile;
      for (int r = 0; r < count; ++r) {
        tile.q[r] = queries.Vector(n + r);
        tile.visible[r] = queries.VisibleIn(first, n + r);
        tile.out[r] = block_out + r * head_dim;
      }
      TileTimesBlock(tile, count, block, queries.args.scale, scores);
      for (int r = 0; r < count; ++r) {
        merged[n + r - begin].Take(tile.max[r], tile.sum[r], tile.out[r], head_dim, out_of(n + r));
      }
    }
  }
  for (int64_t n = begin; n < end; ++n) merged[n - begin].Normalise(head_dim, out_of(n));
}

void PartialImpl(Team& team, const AttentionArgs& args, const AttentionPartials& partials) {
  team.For(args.kv.entries(), [&](Worker& worker, int64_t entry) {
    WithFloatType(args.kv.dtype(), [&]<typename T>(T) {
      PartialsOfEntry<T>({args, args.kv.HeadOf(entry)}, entry, entry + team.threads(), partials,
                         reinterpret_cast<float*>(worker.scratch.data()));
    });
  });
}

void PrefillImpl(Team& team, const AttentionArgs& args, const TensorView& out) {
  static_assert(kQueryTile * (kKvBlock + kMaxHeadDim) * sizeof(float) <= Team::kScratchBytes);
  const int64_t groups = (Queries{args, 0}.count + kQueryGroup - 1) / kQueryGroup;
  team.For(groups * args.kv.kv_heads, [&](Worker& worker, int64_t item) {
    const int64_t group = groups - 1 - item % groups;  // the longest first
    WithFloatType(args.kv.dtype(), [&]<typename T>(T) {
      PrefillGroup<T>({args, item / groups}, group * kQueryGroup, out, reinterpret_cast<float*>(worker.scratch.data()));
    });
  });
}

void MergeImpl(Team& team, const AttentionMergeArgs& args) {
  const int64_t rows = args.state.out.dim(0), heads = args.state.out.dim(1), head_dim = args.state.out.dim(2);
  const int64_t entries = args.partials.out.dim(0), group = args.partials.out.dim(2);
  team.For(rows * heads, [&](Worker&, int64_t item) {
    const int64_t row = item / heads, head = item % heads;
    float* const to = args.state.out.as<float>() + row * args.state.out.stride(0) + head * head_dim;
    Merged merged;
    if (args.first) {
      std::fill_n(to, head_dim, 0.0f);
    } else {
      merged = {args.state.max.as<float>()[item], args.state.sum.as<float>()[item]};
    }
    // The first entry of this head's kv_head, and every kv_heads'th behind it.
    int64_t entry = (head / group + args.kv_heads - args.first_entry % args.kv_heads) % args.kv_heads;
    for (; entry < entries; entry += args.kv_heads) {
      const int64_t i = (entry * rows + row) * group + head % group;
      merged.Take(args.partials.max.as<float>()[i], args.partials.sum.as<float>()[i],
                  args.partials.out.as<float>() + i * head_dim, head_dim, to);
    }
    if (args.last) merged.Normalise(head_dim, to);
    args.state.max.as<float>()[item] = merged.max;
    args.state.sum.as<float>()[item] = merged.sum;
  });
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace triforce
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace triforce {

HWY_EXPORT(PartialImpl);
HWY_EXPORT(PrefillImpl);
HWY_EXPORT(MergeImpl);

void AttentionPartialCpu(Team& team, const AttentionArgs& args, const AttentionPartials& partials) {
  HWY_DYNAMIC_DISPATCH(PartialImpl)(team, args, partials);
}

void AttentionPrefillCpu(Team& team, const AttentionArgs& args, const TensorView& out) {
  HWY_DYNAMIC_DISPATCH(PrefillImpl)(team, args, out);
}

void AttentionMergeCpu(Team& team, const AttentionMergeArgs& args) { HWY_DYNAMIC_DISPATCH(MergeImpl)(team, args); }

}  // namespace triforce
#endif  // HWY_ONCE
