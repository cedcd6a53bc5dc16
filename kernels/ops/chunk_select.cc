#include "kernels/ops/chunk_select.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/core/cpu_lane.h"

namespace triforce {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

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

void SelectOfHead(const ChunkSelectArgs& args, int64_t kv_head, std::byte* scratch) {
  const float* const scores = args.scores.as<float>() + kv_head * args.scores.stride(0);
  const int32_t* const forced = args.forced.as<int32_t>() + kv_head * args.forced.stride(0);
  int32_t* const selected = args.selected.as<int32_t>() + kv_head * args.selected.stride(0);
  const int64_t count = args.selected.dim(1);
  auto* const keys = reinterpret_cast<float*>(scratch);  // [chunks]
  auto* const ids = reinterpret_cast<int32_t*>(keys + args.chunks);
  int64_t candidates = 0;
  for (int64_t chunk = 0; chunk < args.chunks; ++chunk) {
    keys[chunk] = std::isnan(scores[chunk]) ? -kInfinity : std::min(scores[chunk], std::numeric_limits<float>::max());
    if (chunk < args.out_first || chunk >= args.out_end) ids[candidates++] = static_cast<int32_t>(chunk);
  }
  for (int64_t i = 0; i < args.forced.dim(1); ++i) {
    TF_CHECK(forced[i] >= 0 && forced[i] < args.chunks, "chunk {} of {}", forced[i], args.chunks);
    keys[forced[i]] = kInfinity;
  }
  std::nth_element(ids, ids + count, ids + candidates,
                   [keys](int32_t a, int32_t b) { return keys[a] != keys[b] ? keys[a] > keys[b] : a < b; });
  std::sort(ids, ids + count);
  std::copy(ids, ids + count, selected);
}

}  // namespace

// A library's partial sort, a kv_head per item.
void ChunkSelect(Lane& lane, const ChunkSelectArgs& args) {
  Check(args);
  TF_CHECK(args.chunks * static_cast<int64_t>(sizeof(float) + sizeof(int32_t)) <= Team::kScratchBytes, "{} chunks",
           args.chunks);
  AsCpu(lane).Run("chunk_select", [args](Team& team) {
    team.For(args.scores.dim(0),
             [&](Worker& worker, int64_t kv_head) { SelectOfHead(args, kv_head, worker.scratch.data()); });
  });
}

}  // namespace triforce
