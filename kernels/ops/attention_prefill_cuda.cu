// AttentionPrefill on CUDA: the softmax goes along while a block's query rows of one head pass over the keys (Dao,
// FlashAttention-2, arXiv 2307.08691). This kernel is for tensor cores, 16-bit KV and heads of 64 or 128; others are
// for AttentionPrefillPlainly.
//
// Queries and weights are rounded to the KV's type. A row's bits depend on that row alone, in any number of rows: for
// each row keys are taken in the same steps, from storage position 0 on, and a key that it does not see weighs 0. But
// values must be finite where any row of the block sees them: 0 * infinity is no 0.
#include "kernels/core/gpu_launch.h"
#include "kernels/ops/attention_prefill.h"
#include "kernels/ops/attention_prefill_warp.h"

namespace triforce {
namespace prefill {
namespace {

// Warps of a block, tiles of rows of a warp, stages.
template <typename T, int kHeadDim>
using Wide = Shape<T, kHeadDim, 4, 2, 2>;
template <typename T, int kHeadDim>
using Narrow = Shape<T, kHeadDim, 8, 1, 2>;

// Queues the copy of a step's keys, from `from` on, and of its values, `values` elements further; zeros for values
// behind the `visible` first.
template <typename S>
TF_DEVICE void CopyStep(const typename S::Type* from, int64_t values, int visible, std::byte* stage) {
  constexpr int kCopies = S::kKeyBytes / 16 / S::kThreads, kRowPieces = S::kHeadDim / 8;
  constexpr int kRowsAtOnce = S::kThreads / kRowPieces;
  static_assert(kCopies * S::kThreads * 16 == S::kKeyBytes && kRowsAtOnce * kRowPieces == S::kThreads);
  const int thread = gpu::ThreadIndex(), row = thread / kRowPieces;
  std::byte* const to = stage + thread * 16;
  std::byte* const to_values = stage + S::kKeyBytes + row * S::kValueRowBytes + thread % kRowPieces * 16;
  from += thread * 8;
  TF_UNROLL
  for (int i = 0; i < kCopies; ++i) gpu::CopyAsync16(to + i * S::kThreads * 16, from + i * S::kThreads * 8);
  TF_UNROLL
  for (int i = 0; i < kCopies; ++i) {
    gpu::CopyAsync16(to_values + i * kRowsAtOnce * S::kValueRowBytes, from + values + i * S::kThreads * 8,
                     i * kRowsAtOnce < visible - row);
  }
}

template <typename S>
TF_KERNEL_OCCUPANCY(S::kThreads, S::kBlocks)
PrefillKernel(const PrefillWork<typename S::Type> work) {
  const PrefillPlace place = PlaceOf(work, S::kRows);
  const int visible = work.VisibleTo(place.first_row + S::kRows - 1);
  const auto stage = [](int step) { return gpu::Shared<std::byte>(step % S::kStages * S::kStageBytes); };
  const auto copy = [&](int step) {
    const int key = step * kStep;
    if (key < visible) CopyStep<S>(work.Keys(place.kv_head, key), work.values, visible - key, stage(step));
    gpu::CommitCopies();
  };
  for (int step = 0; step < S::kStages - 1; ++step) copy(step);

  const int first_row = place.first_row + gpu::WarpIndex() * S::kWarpRows;
  // Keys that the warp's first row sees; the last one sees none where there are no rows.
  const int seen = first_row < work.rows ? work.VisibleTo(first_row) : -S::kWarpRows;
  Queries<S> queries(work, place.head, first_row);
  State<S> state;
  TF_UNROLL
  for (int i = 0; i < S::kTiles * 2; ++i) state.base[i / 2][i % 2] = kNothingSeen;

  for (int step = 0; step * kStep < visible; ++step) {
    gpu::WaitCopies<S::kStages - 2>();
    gpu::SyncThreads();  // the step's copies are there, and the stage that comes next is read to its end
    copy(step + S::kStages - 1);
    const int first_key = step * kStep;
    if (first_key >= seen + work.growth * (S::kWarpRows - 1)) continue;
    Scores<S> scores = {};
    AddScores<S>(scores, queries, stage(step));
    if (first_key + kStep > seen) MaskScores<S>(scores, seen - first_key, work.growth);
    Weigh<S>(state, scores);
    AddValues<S>(state, scores, stage(step) + S::kKeyBytes);
  }
  StoreRows<S>(work, state, place.head, first_row);
}

template <typename S>
void Queue(CudaLane& lane, const PrefillWork<typename S::Type>& work) {
  const int64_t blocks = int64_t{work.heads} * work.row_blocks;
  Launch<PrefillKernel<S>>(lane, "attention_prefill",
                           {.x = blocks, .threads = S::kThreads, .shared_bytes = S::kSharedBytes}, work);
}

// Wide blocks read keys and values from shared memory half as often. But a multiprocessor must hold two, and get two,
// or it has too few warps to hide what they wait for.
template <typename T, int kHeadDim>
void PrefillByMma(CudaLane& lane, const AttentionArgs& args, const TensorView& out) {
  using WideShape = Wide<T, kHeadDim>;
  using NarrowShape = Narrow<T, kHeadDim>;
  static_assert(WideShape::kRows == NarrowShape::kRows);
  const PrefillWork<T> work = PrefillWorkOf<T>(args, out, WideShape::kRows);
  (void)lane.stream();  // makes the lane's device the current one, which is asked next
  const bool many = int64_t{work.heads} * work.row_blocks > lane.multiprocessors();
  if (many && BlocksPerMultiprocessor<PrefillKernel<WideShape>>(WideShape::kThreads, WideShape::kSharedBytes) >= 2) {
    Queue<WideShape>(lane, work);
  } else {
    Queue<NarrowShape>(lane, work);
  }
}

}  // namespace
}  // namespace prefill

void AttentionPrefillCuda(CudaLane& lane, const AttentionArgs& args, const TensorView& out) {
  WithFloatType(args.kv.dtype(), [&]<typename T>(T) {
    TF_CHECK(reinterpret_cast<uintptr_t>(args.kv.blocks.data()) % 16 == 0);
    if constexpr (sizeof(T) == 2) {
      if (args.kv.head_dim() == 64) return prefill::PrefillByMma<T, 64>(lane, args, out);
      if (args.kv.head_dim() == 128) return prefill::PrefillByMma<T, 128>(lane, args, out);
    }
    AttentionPrefillPlainly(lane, args, out);
  });
}

}  // namespace triforce
