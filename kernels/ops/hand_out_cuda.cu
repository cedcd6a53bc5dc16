// HandOut on CUDA: a kernel copies laws, a block a row; behind it, a warp moves the numbers on.
#include "kernels/core/gpu_launch.h"
#include "kernels/ops/hand_out.h"

namespace triforce {
namespace {

constexpr int kThreads = 256;

struct HandOutWork {
  const int32_t* decided;
  int64_t proposals;
  const float* laws;
  int64_t laws_stride, vocab;
  int64_t* state;
  int64_t numbers;  // of state
  int32_t *last, *tokens, *accepted;
  float* law_rows;  // or null
  int64_t law_rows_stride;
  int64_t most, most_rounds;
};

// A block a row of the round.
TF_KERNEL(kThreads) CopyLawsKernel(HandOutWork work) {
  const int64_t row = gpu::BlockX(), place = work.state[kHandedOut] + row;
  if (row > work.decided[0]) return;  // none where that is -1
  if (place >= work.most) gpu::Trap("hand_out: more tokens than there is room for");
  for (int64_t i = gpu::ThreadIndex(); i < work.vocab; i += kThreads) {
    work.law_rows[place * work.law_rows_stride + i] = work.laws[row * work.laws_stride + i];
  }
}

TF_KERNEL(gpu::kWarpThreads) MoveOnKernel(HandOutWork work) {
  const int64_t accepted = work.decided[0], tokens = accepted + 1, thread = gpu::ThreadIndex();
  const int64_t before = work.state[kHandedOut], round = work.state[kRounds], before_last = work.last[1];
  gpu::SyncWarp();  // all have read
  if (accepted < 0 || work.decided[tokens] < 0) {
    if (thread == 0) ++work.state[kLawless];
    return;
  }
  if (before + tokens > work.most || round >= work.most_rounds) {
    gpu::Trap("hand_out: more tokens than there is room for");
  }
  for (int64_t i = thread; i < tokens; i += gpu::kWarpThreads) work.tokens[before + i] = work.decided[1 + i];
  for (int64_t i = kMoves + thread; i < work.numbers; i += gpu::kWarpThreads) work.state[i] += tokens;
  if (thread != 0) return;
  work.last[0] = tokens > 1 ? work.decided[tokens - 1] : static_cast<int32_t>(before_last);
  work.last[1] = work.decided[tokens];
  work.accepted[round] = static_cast<int32_t>(accepted);
  work.state[kHandedOut] = before + tokens;
  work.state[kRounds] = round + 1;
  work.state[kProposerCounter + 1] += work.proposals;
  work.state[kAccepterCounter + 1] += tokens + (accepted < work.proposals ? 1 : 0);  // a test each, and one draw
}

}  // namespace

void HandOutCuda(CudaLane& lane, const HandOutArgs& args) {
  const HandOutWork work{.decided = args.decided.as<int32_t>(),
                         .proposals = args.decided.dim(0) - 2,
                         .laws = args.laws.as<float>(),
                         .laws_stride = args.laws.stride(0),
                         .vocab = args.laws.dim(1),
                         .state = args.state.as<int64_t>(),
                         .numbers = args.state.dim(0),
                         .last = args.last.as<int32_t>(),
                         .tokens = args.tokens.as<int32_t>(),
                         .accepted = args.accepted.as<int32_t>(),
                         .law_rows = args.law_rows ? args.law_rows.as<float>() : nullptr,
                         .law_rows_stride = args.law_rows ? args.law_rows.stride(0) : 0,
                         .most = args.tokens.dim(0),
                         .most_rounds = args.accepted.dim(0)};
  if (args.law_rows) {
    Launch<CopyLawsKernel>(lane, "hand_out: laws", {.x = args.laws.dim(0), .threads = kThreads}, work);
  }
  Launch<MoveOnKernel>(lane, "hand_out", {.threads = gpu::kWarpThreads}, work);
}

}  // namespace triforce
