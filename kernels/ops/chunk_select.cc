#include "kernels/ops/chunk_select.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <functional>
#include <limits>

#include "kernels/core/cpu_lane.h"
#include "kernels/core/cuda_lane.h"

namespace triforce {

[[gnu::weak]] void ChunkSelectCuda(CudaLane& lane, const ChunkSelectArgs& args);  // chunk_select_cuda.cu

namespace {

void Check(const ChunkSelectArgs& args) {
  TF_CHECK(args.scores.rank() == 2 && args.scores.dtype() == DType::kF32 && args.scores.dense() &&
               args.chunks <= args.scores.dim(1),
           "scores {}, {} chunks", args.scores.ToString(), args.chunks);
  for (const TensorView& t : {args.forced, args.selected}) {
    TF_CHECK(t.rank() == 2 && t.dtype() == DType::kI32 && t.dense() && t.dim(0) == args.scores.dim(0), "{}",
             t.ToString());
  }
  const int64_t out = args.out_end - args.out_first;
  TF_CHECK(out >= 0 && args.out_first >= 0 && args.out_end <= args.chunks && args.selected.dim(1) <= args.chunks - out,
           "{} of {} chunks, without {} to {}", args.selected.dim(1), args.chunks, args.out_first, args.out_end);
}

// Unsigned integers in the order of floats, NaN first; 0 and -0 are alike.
uint32_t OrderedBits(float score) {
  if (std::isnan(score)) return 0;
  const int32_t bits = std::bit_cast<int32_t>(score + 0.0f);
  return static_cast<uint32_t>(bits ^ ((bits >> 31) | std::numeric_limits<int32_t>::min()));
}

// Number `count` of the keys, the largest being number 1; REQUIRES: there are as many. Counted by leading bits first,
// so that few are compared. Uses keys[chunks, 2 * chunks).
uint32_t KeyNumber(int64_t count, uint32_t* keys, int64_t chunks) {
  constexpr int kShift = 21;  // a sign, an exponent, two bits of the rest
  std::array<int32_t, 1 << (32 - kShift)> counts{};
  for (int64_t i = 0; i < chunks; ++i) ++counts[keys[i] >> kShift];
  size_t bucket = counts.size() - 1;
  for (; counts[bucket] < count; --bucket) count -= counts[bucket];
  uint32_t* const some = keys + chunks;
  int64_t n = 0;
  for (int64_t i = 0; i < chunks; ++i) {
    some[n] = keys[i];
    n += keys[i] >> kShift == bucket;
  }
  std::nth_element(some, some + count - 1, some + n, std::greater<uint32_t>());
  return some[count - 1];
}

void SelectOfHead(const ChunkSelectArgs& args, int64_t kv_head, std::byte* scratch) {
  const float* const scores = args.scores.as<float>() + kv_head * args.scores.stride(0);
  const int32_t* const forced = args.forced.as<int32_t>() + kv_head * args.forced.stride(0);
  int32_t* const selected = args.selected.as<int32_t>() + kv_head * args.selected.stride(0);
  const int64_t count = args.selected.dim(1), left = args.chunks - (args.out_end - args.out_first);
  if (count == 0) return;
  // Chunks that may be chosen, one behind the other: keys[i] is chunk i, or that many behind those left out.
  auto* const keys = reinterpret_cast<uint32_t*>(scratch);
  const auto place = [&](int64_t chunk) {
    return chunk < args.out_first ? chunk : chunk - (args.out_end - args.out_first);
  };
  for (int64_t chunk = 0; chunk < args.out_first; ++chunk) keys[chunk] = OrderedBits(scores[chunk]);
  for (int64_t chunk = args.out_end; chunk < args.chunks; ++chunk) keys[place(chunk)] = OrderedBits(scores[chunk]);
  for (int64_t i = 0; i < args.forced.dim(1); ++i) {
    TF_CHECK(forced[i] >= 0 && forced[i] < args.chunks, "chunk {} of {}", forced[i], args.chunks);
    if (forced[i] >= args.out_first && forced[i] < args.out_end) continue;
    keys[place(forced[i])] = std::numeric_limits<uint32_t>::max();  // above all scores, infinity included
  }
  const uint32_t least = KeyNumber(count, keys, left);
  int64_t equal = count - std::count_if(keys, keys + left, [least](uint32_t key) { return key > least; });
  int64_t n = 0;
  for (int64_t i = 0; n < count; ++i) {
    const bool chosen = keys[i] > least || (keys[i] == least && equal-- > 0);
    selected[n] = static_cast<int32_t>(i < args.out_first ? i : i + (args.out_end - args.out_first));
    n += chosen;
  }
}

}  // namespace

// A kv_head per item.
void ChunkSelect(Lane& lane, const ChunkSelectArgs& args) {
  Check(args);
  if (CudaLane* const cuda = AsCuda(lane)) return ChunkSelectCuda(*cuda, args);
  TF_CHECK(args.chunks * static_cast<int64_t>(2 * sizeof(uint32_t)) <= Team::kScratchBytes, "{} chunks", args.chunks);
  AsCpu(lane).Run("chunk_select", [args](Team& team) {
    team.For(args.scores.dim(0),
             [&](Worker& worker, int64_t kv_head) { SelectOfHead(args, kv_head, worker.scratch.data()); });
  });
}

}  // namespace triforce
