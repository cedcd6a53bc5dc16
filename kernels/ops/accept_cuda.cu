// Accept on CUDA: one block; the row of each proposal is read by all of its threads, decisions are the same in each.
#include "kernels/core/gpu_launch.h"
#include "kernels/ops/accept.h"
#include "kernels/ops/device_counter.h"

namespace triforce {
namespace {

constexpr int kThreads = 512;
constexpr int kWarps = kThreads / gpu::kWarpThreads;

struct AcceptKernelArgs {
  const float* laws;
  int64_t laws_stride;
  const float* proposed;
  int64_t proposed_stride;
  const int32_t* tokens;
  int64_t proposals;
  int64_t vocab;
  uint64_t seed;
  RandomCounter counter;
  const int64_t* base;  // of the counter
  int32_t* out;
};

struct SharedMemory {
  double warp_sums[kWarps];
  int32_t warp_last[kWarps];
  int32_t drawn;
};

// The sum of the threads' values before this thread's, and of all: in an order that depends on the block alone.
struct Scan {
  double before;
  double all;
};
TF_DEVICE Scan ScanBlock(double value, SharedMemory& shared) {
  double sum = value;
  for (int distance = 1; distance < gpu::kWarpThreads; distance *= 2) {
    const double other = gpu::ShuffleUp(sum, distance);
    if (gpu::LaneIndex() >= distance) sum += other;
  }
  const double of_lanes_before = gpu::ShuffleUp(sum, 1);
  if (gpu::LaneIndex() == gpu::kWarpThreads - 1) shared.warp_sums[gpu::WarpIndex()] = sum;
  gpu::SyncThreads();
  double before = 0, all = 0;
  for (int warp = 0; warp < kWarps; ++warp) {
    if (warp == gpu::WarpIndex()) before = all;
    all += shared.warp_sums[warp];
  }
  gpu::SyncThreads();  // before the sums are written again
  return {before + (gpu::LaneIndex() > 0 ? of_lanes_before : 0.0), all};
}

TF_DEVICE int32_t LargestOfBlock(int32_t value, SharedMemory& shared) {
  for (int mask = 1; mask < gpu::kWarpThreads; mask *= 2) {
    const int32_t other = gpu::ShuffleXor(value, mask);
    value = value > other ? value : other;
  }
  if (gpu::LaneIndex() == 0) shared.warp_last[gpu::WarpIndex()] = value;
  gpu::SyncThreads();
  for (int warp = 0; warp < kWarps; ++warp) value = value > shared.warp_last[warp] ? value : shared.warp_last[warp];
  gpu::SyncThreads();
  return value;
}

// This thread's run of the vocabulary: [begin, end).
struct Share {
  int64_t begin, end;
};
TF_DEVICE Share ShareOf(int64_t vocab) {
  const int64_t each = (vocab + kThreads - 1) / kThreads;
  const int64_t begin = each * gpu::ThreadIndex();
  const int64_t end = begin + each;
  return {begin < vocab ? begin : vocab, end < vocab ? end : vocab};
}

template <typename Weight>
TF_DEVICE double SumOfShare(const Share& share, const Weight& weight) {
  double sum = 0;
  for (int64_t x = share.begin; x < share.end; ++x) sum += weight(x);
  return sum;
}

// The sum of a law. Most of it is 0, where filters have been, and doubles are slow on GPUs for games.
TF_DEVICE double MassOf(const float* law, int64_t vocab, SharedMemory& shared) {
  double sum = 0;
  for (int x = gpu::ThreadIndex(); x < static_cast<int>(vocab); x += kThreads) {
    const float weight = law[x];
    if (weight != 0) sum += weight;
  }
  return ScanBlock(sum, shared).all;
}

// A place with a probability in proportion to its weight, never one of weight 0; -1 where all weigh 0. The running sum
// is that of ScanBlock at the begin of each share and goes on from there; where rounding leaves no place beyond the
// target, the last one of any weight is drawn.
template <typename Weight>
TF_DEVICE int32_t Draw(int64_t vocab, double u, const Weight& weight, SharedMemory& shared) {
  const Share share = ShareOf(vocab);
  const Scan scan = ScanBlock(SumOfShare(share, weight), shared);
  const double target = u * scan.all;
  if (gpu::ThreadIndex() == 0) shared.drawn = INT32_MAX;
  gpu::SyncThreads();
  int32_t last = -1, found = INT32_MAX;
  double sum = scan.before;
  for (int64_t x = share.begin; x < share.end; ++x) {
    const double w = weight(x);
    if (!(w > 0)) continue;
    sum += w;
    last = static_cast<int32_t>(x);
    if (sum > target) {
      found = last;
      break;
    }
  }
  // The lowest one of all shares: a share's own sum may pass the target by rounding where the next one's begin does
  // not.
  if (found != INT32_MAX) gpu::AtomicMin(&shared.drawn, found);
  const int32_t last_of_all = LargestOfBlock(last, shared);  // its barriers order what AtomicMin has written
  const int32_t drawn = shared.drawn;
  gpu::SyncThreads();
  return drawn != INT32_MAX ? drawn : last_of_all;
}

TF_DEVICE double NextUniform(uint64_t seed, RandomCounter& counter, RandomPurpose purpose) {
  counter.purpose = purpose;
  const double u = Uniform(seed, counter);
  ++counter.index;
  return u;
}

TF_KERNEL(kThreads) AcceptKernel(AcceptKernelArgs args) {
  SharedMemory& shared = *gpu::Shared<SharedMemory>();
  for (int64_t i = gpu::ThreadIndex(); i < args.proposals + 2; i += kThreads) args.out[i] = -1;
  gpu::SyncThreads();
  RandomCounter counter = Advance(args.counter, args.base);
  const bool writes = gpu::ThreadIndex() == 0;
  for (int64_t i = 0; i <= args.proposals; ++i) {
    const float* const p = args.laws + i * args.laws_stride;
    const auto weight = [p](int64_t x) { return static_cast<double>(p[x]); };
    const double p_mass = MassOf(p, args.vocab, shared);
    if (!(p_mass > 0) || p_mass > 1e300) return;  // out[0] is -1
    int32_t handed_out;
    bool accepted = false;
    if (i == args.proposals) {
      handed_out = Draw(args.vocab, NextUniform(args.seed, counter, RandomPurpose::kBonus), weight, shared);
    } else {
      const float* const q = args.proposed + i * args.proposed_stride;
      const double q_mass = MassOf(q, args.vocab, shared);
      if (!(q_mass > 0) || q_mass > 1e300) return;
      const int64_t token = args.tokens[i];
      if (token < 0 || token >= args.vocab || !(q[token] > 0)) gpu::Trap("accept: a proposal of no weight in its law");
      accepted = NextUniform(args.seed, counter, RandomPurpose::kAccept) < p[token] / p_mass / (q[token] / q_mass);
      handed_out = static_cast<int32_t>(token);
      if (!accepted) {
        const double u = NextUniform(args.seed, counter, RandomPurpose::kResidual);
        handed_out = Draw(
            args.vocab, u,
            [=](int64_t x) {
              const double left = p[x] / p_mass - q[x] / q_mass;
              return left > 0 ? left : 0.0;
            },
            shared);
        if (handed_out < 0) handed_out = Draw(args.vocab, u, weight, shared);
      }
    }
    if (writes) args.out[i + 1] = handed_out;
    if (accepted) continue;
    if (writes) args.out[0] = static_cast<int32_t>(i);
    return;
  }
}

}  // namespace

void AcceptCuda(CudaLane& lane, const AcceptArgs& args) {
  const AcceptKernelArgs kernel_args{args.laws.as<float>(),
                                     args.laws.stride(0),
                                     args.tokens.dim(0) > 0 ? args.proposed.as<float>() : nullptr,
                                     args.tokens.dim(0) > 0 ? args.proposed.stride(0) : 0,
                                     args.tokens.as<int32_t>(),
                                     args.tokens.dim(0),
                                     args.laws.dim(1),
                                     args.seed,
                                     args.first,
                                     args.base ? args.base.as<int64_t>() : nullptr,
                                     args.out.as<int32_t>()};
  Launch<AcceptKernel>(lane, "accept", {.threads = kThreads, .shared_bytes = sizeof(SharedMemory)}, kernel_args);
}

}  // namespace triforce
