#include "kernels/ops/hand_out.h"

#include <algorithm>

#include "kernels/core/cpu_lane.h"
#include "kernels/core/cuda_lane.h"

namespace triforce {

[[gnu::weak]] void HandOutCuda(CudaLane& lane, const HandOutArgs& args);  // hand_out_cuda.cu

namespace {

void CheckVector(const TensorView& t, DType dtype, int64_t least, int64_t most) {
  TF_CHECK(t.rank() == 1 && t.dtype() == dtype && t.dense() && t.dim(0) >= least && t.dim(0) <= most,
           "{}, expected {} to {}", t.ToString(), least, most);
}

void Check(const HandOutArgs& args) {
  constexpr int64_t kAny = int64_t{1} << 30;
  const int64_t proposals = args.decided.dim(0) - 2, most = args.tokens.dim(0);
  CheckVector(args.decided, DType::kI32, 2, kAny);
  CheckVector(args.state, DType::kI64, kMoves, kAny);
  CheckVector(args.last, DType::kI32, 2, 2);
  CheckVector(args.tokens, DType::kI32, 1, kAny);
  CheckVector(args.accepted, DType::kI32, 1, kAny);
  TF_CHECK(args.laws.rank() == 2 && args.laws.dtype() == DType::kF32 && args.laws.dense_rows() &&
               args.laws.dim(0) == proposals + 1,
           "{}, {} proposals", args.laws.ToString(), proposals);
  const TensorView& rows = args.law_rows;
  TF_CHECK(!rows || (rows.rank() == 2 && rows.dtype() == DType::kF32 && rows.dense_rows() && rows.dim(0) == most &&
                     rows.dim(1) == args.laws.dim(1)),
           "{} of {}", rows.ToString(), args.laws.ToString());
}

void Run(const HandOutArgs& args) {
  const int32_t* const decided = args.decided.as<int32_t>();
  int64_t* const state = args.state.as<int64_t>();
  const int64_t proposals = args.decided.dim(0) - 2, accepted = decided[0], tokens = accepted + 1;
  if (accepted < 0 || decided[tokens] < 0) {
    ++state[kLawless];
    return;
  }
  const int64_t before = state[kHandedOut], round = state[kRounds]++;
  TF_CHECK(before + tokens <= args.tokens.dim(0) && round < args.accepted.dim(0), "{} behind {} of {}", tokens, before,
           args.tokens.dim(0));
  std::copy_n(decided + 1, tokens, args.tokens.as<int32_t>() + before);
  for (int64_t row = 0; args.law_rows && row < tokens; ++row) {
    std::copy_n(args.laws.as<float>() + row * args.laws.stride(0), args.laws.dim(1),
                args.law_rows.as<float>() + (before + row) * args.law_rows.stride(0));
  }
  int32_t* const last = args.last.as<int32_t>();
  last[0] = tokens > 1 ? decided[tokens - 1] : last[1];
  last[1] = decided[tokens];
  args.accepted.as<int32_t>()[round] = static_cast<int32_t>(accepted);
  state[kHandedOut] += tokens;
  state[kProposerCounter + 1] += proposals;
  state[kAccepterCounter + 1] += tokens + (accepted < proposals ? 1 : 0);  // a test each, and one draw
  for (int64_t i = kMoves; i < args.state.dim(0); ++i) state[i] += tokens;
}

}  // namespace

// Some tokens and rows: there is nothing to share out.
void HandOut(Lane& lane, const HandOutArgs& args) {
  Check(args);
  if (CudaLane* const cuda = AsCuda(lane)) return HandOutCuda(*cuda, args);
  AsCpu(lane).Run("hand_out", [args](Team&) { Run(args); });
}

}  // namespace triforce
