// AttentionMerge on CUDA: a block of threads a row and head, a thread an element of the output.
//
// The merge is a recurrence, out = out * a + partial * b, whose factors follow from the maxima alone: the largest score
// up to each entry is a scan, exact in any order, so the factors of many entries are found at once. What is left for
// one entry after another is a multiplication and an addition, for which partials are read well ahead. Where the scan
// breaks off and goes on, and so how the KV is cut into views, changes no bit.
#include <limits>

#include "kernels/core/gpu_launch.h"
#include "kernels/ops/attention.h"

namespace triforce {
namespace {

constexpr int kMaxThreads = 256;
constexpr int kAhead = 32;  // entries whose partials are read at once
constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

struct MergeWork {
  const float *partial_out, *partial_max, *partial_sum;
  float *out, *max, *sum;  // the state
  int64_t out_stride;      // of a row
  int64_t entries, first_entry;
  int64_t rows, heads, kv_heads, group, head_dim;
  bool first, last;
};

// What an entry's step is: out = out * old_factor + partial_out * new_factor; sum = sum * old_factor + addend.
struct alignas(16) Step {
  float old_factor, new_factor, addend, max;
};

// exp(a - b) for b >= a; 1 where they are equal, if -infinity.
TF_DEVICE float Factor(float a, float b) { return a == b ? 1.0f : gpu::Exp(a - b); }

// The largest value of the threads up to this one, and `carry`. `warps`: shared memory, a float a warp, which is free
// again behind the next barrier.
TF_DEVICE float LargestUpTo(float value, float carry, float* warps) {
  TF_UNROLL
  for (int step = 1; step < gpu::kWarpThreads; step *= 2) value = gpu::Max(value, gpu::ShuffleUp(value, step));
  if (gpu::LaneIndex() == gpu::kWarpThreads - 1) warps[gpu::WarpIndex()] = value;
  gpu::SyncThreads();
  for (int warp = 0; warp < gpu::WarpIndex(); ++warp) value = gpu::Max(value, warps[warp]);
  return gpu::Max(value, carry);
}

TF_KERNEL(kMaxThreads)
MergeKernel(MergeWork work) {
  const int threads = gpu::BlockThreads(), thread = gpu::ThreadIndex();
  float* const warps = gpu::Shared<float>();
  Step* const steps = gpu::Shared<Step>(sizeof(float) * gpu::kWarpThreads);  // [threads]
  // Rows of one head lie side by side in the partials.
  const int64_t row = gpu::BlockX() % work.rows, head = gpu::BlockX() / work.rows;
  // The first entry of this head's kv_head; each kv_heads'th behind it is its, too.
  const int64_t begin = (head / work.group + work.kv_heads - work.first_entry % work.kv_heads) % work.kv_heads;
  const int64_t count = begin < work.entries ? (work.entries - begin + work.kv_heads - 1) / work.kv_heads : 0;
  const auto place = [&](int64_t i) {
    return ((begin + i * work.kv_heads) * work.rows + row) * work.group + head % work.group;
  };
  const int64_t state = row * work.heads + head;
  float* const out = work.out + row * work.out_stride + head * work.head_dim;
  const bool mine = thread < work.head_dim;  // the element `thread`
  float total = work.first || !mine ? 0 : out[thread];
  float max = work.first ? kMinusInfinity : work.max[state];
  float sum = work.first ? 0 : work.sum[state];

  const int64_t stride = work.kv_heads * work.rows * work.group * work.head_dim;
  const float* next = work.partial_out + place(0) * work.head_dim + thread;  // partial to be read
  for (int64_t from = 0; from < count; from += threads) {
    const bool has = from + thread < count;
    const float entry_max = has ? work.partial_max[place(from + thread)] : kMinusInfinity;
    const float entry_sum = has ? work.partial_sum[place(from + thread)] : 0;
    const float new_max = LargestUpTo(entry_max, max, warps);
    steps[thread].max = new_max;
    gpu::SyncThreads();
    const float new_factor = Factor(entry_max, new_max);
    steps[thread].old_factor = Factor(thread == 0 ? max : steps[thread - 1].max, new_max);
    steps[thread].new_factor = new_factor;
    steps[thread].addend = entry_sum * new_factor;
    max = steps[threads - 1].max;
    gpu::SyncThreads();
    const int steps_now = static_cast<int>(count - from < threads ? count - from : threads);
    for (int i = 0; i < steps_now; i += kAhead) {
      float partial[kAhead];
      TF_UNROLL
      for (int k = 0; k < kAhead; ++k) {
        partial[k] = mine && i + k < steps_now ? *next : 0;
        next += stride;
      }
      TF_UNROLL
      for (int k = 0; k < kAhead; ++k) {
        if (i + k >= steps_now) break;
        const Step step = steps[i + k];
        total = gpu::Fma(total, step.old_factor, partial[k] * step.new_factor);
        sum = gpu::Fma(sum, step.old_factor, step.addend);
      }
    }
    gpu::SyncThreads();
  }

  if (mine) out[thread] = work.last && sum != 0 ? total / sum : total;
  gpu::SyncThreads();  // all have read the state
  if (thread == 0) {
    work.max[state] = max;
    work.sum[state] = sum;
  }
}

}  // namespace

void AttentionMergeCuda(CudaLane& lane, const AttentionMergeArgs& args) {
  const TensorView& partials = args.partials.out;
  const TensorView& out = args.state.out;
  const int64_t warps = (out.dim(2) + gpu::kWarpThreads - 1) / gpu::kWarpThreads;
  const int threads = static_cast<int>(warps * gpu::kWarpThreads);
  const MergeWork work{.partial_out = partials.as<float>(),
                       .partial_max = args.partials.max.as<float>(),
                       .partial_sum = args.partials.sum.as<float>(),
                       .out = out.as<float>(),
                       .max = args.state.max.as<float>(),
                       .sum = args.state.sum.as<float>(),
                       .out_stride = out.stride(0),
                       .entries = partials.dim(0),
                       .first_entry = args.first_entry,
                       .rows = out.dim(0),
                       .heads = out.dim(1),
                       .kv_heads = args.kv_heads,
                       .group = partials.dim(2),
                       .head_dim = out.dim(2),
                       .first = args.first,
                       .last = args.last};
  Launch<MergeKernel>(
      lane, "attention_merge",
      {.x = out.dim(0) * out.dim(1),
       .threads = threads,
       .shared_bytes = static_cast<int64_t>(sizeof(float) * gpu::kWarpThreads + threads * sizeof(Step))},
      work);
}

}  // namespace triforce
