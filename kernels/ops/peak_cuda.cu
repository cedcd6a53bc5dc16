// Peak on CUDA.
#include <algorithm>
#include <bit>

#include "kernels/core/gpu_launch.h"
#include "kernels/ops/peak.h"
#include "kernels/ops/row_block.h"

namespace triforce {
namespace {

constexpr int kThreads = 256;
constexpr int kBlocksEach = 6;  // of a multiprocessor at a time: 1536 threads, all that those of games' GPUs take

// Sums for the compiler's sake only: their order does not matter.
TF_DEVICE void AddTo(float* sink, float mine) {
  const float sum = SumBlock(mine, gpu::Shared<float>());
  if (gpu::ThreadIndex() == 0) gpu::AtomicAdd(sink, sum);
}

constexpr int kLoads = 4;  // of 16 bytes, under way from each thread: 96 KiB from a multiprocessor
constexpr int64_t kChunkBytes = kLoads * kThreads * 16;
static_assert(kChunkBytes == 4096 * sizeof(float));

TF_KERNEL_OCCUPANCY(kThreads, kBlocksEach)
PeakReadKernel(const std::byte* data, int64_t chunks, float* sink) {
  float sums[4] = {};
  for (int64_t chunk = gpu::BlockX(); chunk < chunks; chunk += gpu::GridX()) {
    gpu::Words4 loaded[kLoads];
    TF_UNROLL for (int k = 0; k < kLoads; ++k) {
      loaded[k] = gpu::LoadOnce16(data + chunk * kChunkBytes + (k * kThreads + gpu::ThreadIndex()) * 16);
    }
    TF_UNROLL for (int k = 0; k < kLoads; ++k) {
      TF_UNROLL for (int i = 0; i < 4; ++i) sums[i] += std::bit_cast<float>(loaded[k].w[i]);
    }
  }
  AddTo(sink, sums[0] + sums[1] + sums[2] + sums[3]);
}

constexpr int kChains = 8;
constexpr int kUnrolled = 16;  // so that the loop's own instructions are few beside its multiply-adds
constexpr int kFmaRounds = 32;
constexpr int64_t kFmasPerBlock = int64_t{kThreads} * kChains * kUnrolled * kFmaRounds;

TF_KERNEL_OCCUPANCY(kThreads, kBlocksEach)
PeakFmaKernel(float* sink) {
  float chains[kChains];
  TF_UNROLL for (int c = 0; c < kChains; ++c) chains[c] = static_cast<float>(gpu::ThreadIndex() + c);
  for (int round = 0; round < kFmaRounds; ++round) {
    TF_UNROLL for (int step = 0; step < kUnrolled; ++step) {
      TF_UNROLL for (int c = 0; c < kChains; ++c) chains[c] = gpu::Fma(chains[c], 0.5f, 1.0f);
    }
  }
  float sum = 0;
  TF_UNROLL for (int c = 0; c < kChains; ++c) sum += chains[c];
  AddTo(sink, sum);
}

}  // namespace

void PeakReadCuda(CudaLane& lane, const TensorView& data, const TensorView& sink) {
  const int64_t chunks = data.bytes() / kChunkBytes;
  Launch<PeakReadKernel>(lane, "peak_read",
                         {.x = std::min<int64_t>(chunks, kBlocksEach * lane.multiprocessors()),
                          .threads = kThreads,
                          .shared_bytes = gpu::kWarpThreads * sizeof(float)},
                         static_cast<const std::byte*>(data.data()), chunks, sink.as<float>());
}

int64_t PeakFmaCuda(CudaLane& lane, int64_t fmas, const TensorView& sink) {
  const int64_t blocks = (fmas + kFmasPerBlock - 1) / kFmasPerBlock;
  Launch<PeakFmaKernel>(lane, "peak_fma",
                        {.x = blocks, .threads = kThreads, .shared_bytes = gpu::kWarpThreads * sizeof(float)},
                        sink.as<float>());
  return blocks * kFmasPerBlock;
}

}  // namespace triforce
