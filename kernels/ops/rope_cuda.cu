// RoPE on CUDA: a thread for each angle, and for each pair that turns.
#include "kernels/core/gpu_launch.h"
#include "kernels/ops/device_scalar.h"
#include "kernels/ops/rope.h"

namespace triforce {
namespace {

constexpr int kThreads = 128;

TF_KERNEL(kThreads)
RopeTableKernel(const int32_t* positions, const int64_t* base, const float* frequency, float scaling, int64_t rows,
                int64_t half, float* cos, float* sin) {
  const int64_t i = gpu::BlockX() * kThreads + gpu::ThreadIndex();
  if (i >= rows * half) return;
  const int64_t position = positions[i / half] + (base == nullptr ? 0 : *base);
  const float angle = static_cast<float>(position) * frequency[i % half];
  cos[i] = gpu::Cos(angle) * scaling;
  sin[i] = gpu::Sin(angle) * scaling;
}

// x: [rows, heads, 2 * half], rows strided. A block: kThreads pairs of a row.
TF_KERNEL(kThreads)
RopeKernel(float* x, int64_t stride, int64_t heads, int64_t half, const float* cos, const float* sin) {
  const int64_t row = gpu::BlockX(), pair = gpu::BlockY() * kThreads + gpu::ThreadIndex();
  if (pair >= heads * half) return;
  float* const first = x + row * stride + pair / half * 2 * half + pair % half;
  const float a = first[0], b = first[half];
  const float c = cos[row * half + pair % half], s = sin[row * half + pair % half];
  first[0] = a * c - b * s;
  first[half] = b * c + a * s;
}

}  // namespace

void RopeTableCuda(CudaLane& lane, const RopeTableArgs& args) {
  const int64_t rows = args.positions.dim(0), half = args.inverse_frequency.dim(0);
  Launch<RopeTableKernel>(lane, "rope_table", {.x = (rows * half + kThreads - 1) / kThreads, .threads = kThreads},
                          args.positions.as<int32_t>(), AddressOfScalar(args.base), args.inverse_frequency.as<float>(),
                          args.scaling, rows, half, args.cos.as<float>(), args.sin.as<float>());
}

void RopeCuda(CudaLane& lane, const RopeArgs& args) {
  const int64_t heads = args.x.dim(1), half = args.x.dim(2) / 2;
  Launch<RopeKernel>(lane, "rope",
                     {.x = args.x.dim(0), .y = (heads * half + kThreads - 1) / kThreads, .threads = kThreads},
                     args.x.as<float>(), args.x.stride(0), heads, half, args.cos.as<float>(), args.sin.as<float>());
}

}  // namespace triforce
