// The device primitives that kernels use. Compiled by nvcc they are the GPU's instructions (gpu_cuda.h); compiled by
// the host's compiler they are the simulator's (gpu_sim.h), which runs the same kernel source block by block on the
// CPU, a fiber per thread, so that kernels are tested where there is no GPU.
//
// A kernel includes this and uses nothing else of CUDA: no built-in variable, no intrinsic, no <<<>>> (gpu_launch.h has
// Launch). Blocks are one-dimensional and whole warps; grids have up to three dimensions. Shared memory is dynamic:
// Shared<T>(offset). What is collective over a warp is called by all of its 32 threads.
//
//   template <typename T>
//   TF_KERNEL(256) ScaleKernel(T* values, int64_t count, float factor) {
//     const int64_t i = gpu::BlockX() * 256 + gpu::ThreadIndex();
//     if (i < count) values[i] = gpu::FromFloat<T>(gpu::ToFloat(values[i]) * factor);
//   }
//   ...
//   Launch<ScaleKernel<F16>>(lane, "scale", {.x = (count + 255) / 256, .threads = 256}, data, count, 0.5f);
//
// In both files, with the same meaning:
//   TF_KERNEL(threads)              a kernel, launched with that many threads a block at most
//   TF_KERNEL_OCCUPANCY(threads, n) the same, in registers that n such blocks share a multiprocessor with
//   TF_DEVICE                       an inlined function of kernels; TF_HOST_DEVICE: of the host too
//   TF_UNROLL                       before a loop: unrolled whole
//
//   ThreadIndex BlockThreads WarpIndex LaneIndex   within the block; within the warp
//   BlockX BlockY BlockZ GridX GridY GridZ
//   Shared<T>(byte offset)          dynamic shared memory, aligned to 128 bytes at offset 0; its content at the start is
//                                   undefined
//   SyncThreads SyncWarp            barriers; order shared and global memory among those threads
//   Shuffle(v, lane) ShuffleXor(v, mask) ShuffleUp(v, n) ShuffleDown(v, n)   of 4- and 8-byte types; Up, Down: lanes
//                                   without a source keep their own value
//   Ballot(bool) Any(bool) All(bool)
//   CopyAsync16(shared, global, valid)   16 bytes, both aligned to 16; zeros where not valid (then global is not read)
//   CommitCopies() WaitCopies<n>()  groups of this thread's copies; waits for all but the n latest groups. Other threads
//                                   see them behind the next barrier
//   Mma16816<T>(c, a, b)            c += a * b: mma.sync.m16n8k16, row.col, T = F16 or BF16, sums in f32. Fragments as
//                                   in the PTX manual; with g = LaneIndex() / 4, t = LaneIndex() % 4:
//                                     a[0] = A[g][2t, 2t+1]  a[1] = A[g+8][2t, 2t+1]  a[2] = A[g][2t+8, 2t+9]
//                                     a[3] = A[g+8][2t+8, 2t+9]  b[0] = B[2t, 2t+1][g]  b[1] = B[2t+8, 2t+9][g]
//                                     c[0], c[1] = C[g][2t, 2t+1]  c[2], c[3] = C[g+8][2t, 2t+1]
//   LoadMatrix4(r, row) LoadMatrix4Transposed(r, row)   ldmatrix.x4 (.trans): lanes 8i..8i+7 name the 8 rows (16 bytes,
//                                   aligned to 16, shared) of matrix i, whose fragment comes in r[i]
//   Permute(a, b, selector)         prmt: bytes of {b, a} by the selector's nibbles
//   Load16(p) LoadOnce16(p)         16 bytes of global memory, aligned to 16, the latter not kept in the first cache
//   LoadVolatile(p)                 4 bytes that other blocks may have written
//   Pack<T>(lo, hi) UnpackLow<T>(w) UnpackHigh<T>(w)   two 16-bit floats in a word, rounded to nearest even
//   ToFloat(v) FromFloat<T>(f)      float, F16, BF16
//   Fma(a, b, c) Exp2(x) Exp(x) Log(x) Sqrt(x) Sin(x) Cos(x) ReciprocalSqrt(x)   Exp2: to 2 ulp; the others as in libm
//   Max(a, b)                       the larger; where one is NaN, the other
//   AtomicAdd(p, v) AtomicMax(p, v) AtomicMin(p, v) on int32_t, uint32_t (and Add on float, uint64_t), shared or global; the old value
//   AwaitPrevious()                 of a kernel that starts early (LaunchShape): waits until all work queued before it is
//                                   done and seen. Called by all threads
//   AllowNext()                     lets a next kernel that starts early begin where this one leaves room; it still waits
//                                   in its AwaitPrevious for this one's end
//   FenceDevice()                   what this thread wrote before is seen by the device before what it writes after
//   Trap(message)                   ends the kernel with an error: a broken precondition found on the device
//
// -fmad=false: a * b + c is rounded twice; where one rounding is meant, Fma says so (rule 2: bits must not depend on
// what the compiler makes of one instantiation or another).
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/core/dtype.h"

namespace triforce::gpu {

inline constexpr int kWarpThreads = 32;

struct alignas(16) Words4 {
  uint32_t w[4];
};
struct alignas(16) Floats4 {
  float f[4];
};

}  // namespace triforce::gpu

#ifdef __CUDACC__
#include "kernels/core/gpu_cuda.h"
#else
#include "kernels/core/gpu_sim.h"
#endif
