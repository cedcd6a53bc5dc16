// ChunkSelect on CUDA: a block a kv_head. The lowest key that is chosen is found digit by digit, the highest first,
// from the numbers of chunks by digit (a radix select); then the chosen are written side by side in the order of
// chunks.
#include <algorithm>
#include <bit>
#include <cstdint>
#include <limits>

#include "kernels/core/gpu_launch.h"
#include "kernels/ops/chunk_order.h"
#include "kernels/ops/chunk_select.h"

namespace triforce {
namespace {

constexpr int kBins = 1 << 11;
constexpr uint32_t kNever = 0;                                      // below NaN: the key of what is left out
constexpr uint32_t kForced = std::numeric_limits<uint32_t>::max();  // above infinity
// Of a block on GPUs that have the least.
constexpr int64_t kSharedBytes = 99 << 10;

struct Params {
  const float* scores;  // [kv_heads, scores_stride]
  int64_t scores_stride;
  const int32_t* forced;  // [kv_heads, forced_count]
  int32_t* selected;      // [kv_heads, count]
  uint32_t* keys;         // [kv_heads, chunks]; null where they lie in shared memory
  int chunks;
  int out_first;
  int out_end;
  int forced_count;
  int count;
};

// The lowest key that is chosen, and how many chunks of this very key are.
struct Cut {
  uint32_t key;
  int equal;
};

struct Memory {
  Cut cut;
  int warps[gpu::kWarpThreads];
  int counts[kBins];  // of chunks by digit, the largest digit first
};
TF_DEVICE Memory& Shared() { return *gpu::Shared<Memory>(); }

// Other threads see them behind the next barrier.
TF_DEVICE void MakeKeys(const Params& p, uint32_t* keys) {
  const float* const scores = p.scores + gpu::BlockX() * p.scores_stride;
  ForRow(scores, p.chunks, [&](int64_t chunk, float score) {
    keys[chunk] = chunk >= p.out_first && chunk < p.out_end ? kNever : KeyOfScore(score);
  });
  gpu::SyncThreads();
  const int32_t* const forced = p.forced + gpu::BlockX() * p.forced_count;
  for (int i = gpu::ThreadIndex(); i < p.forced_count; i += gpu::BlockThreads()) {
    const int32_t chunk = forced[i];
    if (chunk < 0 || chunk >= p.chunks) gpu::Trap("chunk_select: a forced chunk that is none");
    if (chunk < p.out_first || chunk >= p.out_end) keys[chunk] = kForced;
  }
}

// Of the keys whose bits above those of the digit are `known`: the digit at which their number, the largest first,
// reaches `wanted`, added to `known`, and how many with this digit are wanted.
TF_DEVICE Cut NextDigit(const uint32_t* keys, int chunks, Cut known, int shift, int bits) {
  const int last = (1 << bits) - 1;
  for (int i = gpu::ThreadIndex(); i < kBins; i += gpu::BlockThreads()) Shared().counts[i] = 0;
  gpu::SyncThreads();
  const uint32_t above = shift + bits == 32 ? 0 : std::numeric_limits<uint32_t>::max() << (shift + bits);
  for (int i = gpu::ThreadIndex(); i < chunks; i += gpu::BlockThreads()) {
    const uint32_t key = keys[i];
    if (((key ^ known.key) & above) == 0) gpu::AtomicAdd(&Shared().counts[last - (key >> shift & last)], 1);
  }
  gpu::SyncThreads();
  const int each = kBins / gpu::BlockThreads(), first = gpu::ThreadIndex() * each;
  int mine = 0;
  for (int bin = first; bin < first + each; ++bin) mine += Shared().counts[bin];
  int before = SumBefore(mine, Shared().warps);
  if (before < known.equal && known.equal <= before + mine) {
    int bin = first;
    for (; before + Shared().counts[bin] < known.equal; ++bin) before += Shared().counts[bin];
    Shared().cut = {known.key | static_cast<uint32_t>(last - bin) << shift, known.equal - before};
  }
  gpu::SyncThreads();
  return Shared().cut;
}

// The chunks above the cut and the first ones at it. Each warp counts those of its run, then writes them behind those
// of the warps before it.
TF_DEVICE void WriteChosen(const uint32_t* keys, int chunks, Cut cut, int32_t* selected) {
  const ChunkRun run = RunOfWarp(chunks);
  int above = 0, at = 0;
  for (int i = run.first + gpu::LaneIndex(); i < run.end; i += gpu::kWarpThreads) {
    above += keys[i] > cut.key;
    at += keys[i] == cut.key;
  }
  // Of all threads before: what is wanted, of those before this warp, its first lane has.
  above = gpu::Shuffle(SumBefore(above, Shared().warps), 0);
  at = gpu::Shuffle(SumBefore(at, Shared().warps), 0);
  for (int first = run.first; first < run.end; first += gpu::kWarpThreads) {
    const int chunk = first + gpu::LaneIndex();
    const uint32_t key = chunk < run.end ? keys[chunk] : kNever;
    const bool is_above = chunk < run.end && key > cut.key, is_at = chunk < run.end && key == cut.key;
    const uint32_t all_above = gpu::Ballot(is_above), all_at = gpu::Ballot(is_at);
    const int at_before = at + std::popcount(LanesBefore(all_at));
    if (is_above || (is_at && at_before < cut.equal)) {
      const int place = above + std::popcount(LanesBefore(all_above)) + (at_before < cut.equal ? at_before : cut.equal);
      selected[place] = chunk;
    }
    above += std::popcount(all_above);
    at += std::popcount(all_at);
  }
}

TF_KERNEL(kMaxRowThreads) ChunkSelectKernel(Params p) {
  uint32_t* const keys = p.keys != nullptr ? p.keys + gpu::BlockX() * p.chunks : gpu::Shared<uint32_t>(sizeof(Memory));
  MakeKeys(p, keys);
  Cut cut{0, p.count};
  cut = NextDigit(keys, p.chunks, cut, 21, 11);
  cut = NextDigit(keys, p.chunks, cut, 10, 11);
  cut = NextDigit(keys, p.chunks, cut, 0, 10);
  WriteChosen(keys, p.chunks, cut, p.selected + gpu::BlockX() * p.count);
}

}  // namespace

void ChunkSelectCuda(CudaLane& lane, const ChunkSelectArgs& args) {
  const int64_t kv_heads = args.scores.dim(0), chunks = args.chunks, key_bytes = chunks * sizeof(uint32_t);
  Params params{
      .scores = args.scores.as<float>(),
      .scores_stride = args.scores.stride(0),
      .forced = args.forced.as<int32_t>(),
      .selected = args.selected.as<int32_t>(),
      .keys = nullptr,
      .chunks = static_cast<int>(chunks),
      .out_first = static_cast<int>(args.out_first),
      .out_end = static_cast<int>(args.out_end),
      .forced_count = static_cast<int>(args.forced.dim(1)),
      .count = static_cast<int>(args.selected.dim(1)),
  };
  if (params.count == 0) return;
  const bool in_shared = static_cast<int64_t>(sizeof(Memory)) + key_bytes <= kSharedBytes;
  // As many kv_heads at a time as the keys have room for.
  const int64_t most = in_shared ? kv_heads : std::min(kv_heads, CudaLane::kScratchBytes / key_bytes);
  if (!in_shared) params.keys = reinterpret_cast<uint32_t*>(lane.Scratch(std::max<int64_t>(1, most) * key_bytes));
  for (int64_t first = 0; first < kv_heads; first += most) {
    const int64_t heads = std::min(most, kv_heads - first);
    Launch<ChunkSelectKernel>(lane, "chunk_select",
                              {.x = heads,
                               .threads = RowThreads(chunks),
                               .shared_bytes = static_cast<int64_t>(sizeof(Memory)) + (in_shared ? key_bytes : 0)},
                              params);
    params.scores += heads * params.scores_stride;
    params.forced += heads * params.forced_count;
    params.selected += heads * params.count;
  }
}

}  // namespace triforce
