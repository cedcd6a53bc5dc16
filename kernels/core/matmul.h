// Matmul: one matrix times each of several, for passes of so many rows that arithmetic and not memory is the limit.
//
// Two files have it, of which a binary links one: matmul_cuda.cc asks cuBLASLt, matmul_sim.cc runs plain loops on the
// host, for the simulator.
#pragma once

#include <cstdint>

#include "kernels/core/cuda_lane.h"
#include "kernels/core/dtype.h"

namespace triforce {

struct MatmulArgs {
  DType dtype = DType::kF16;  // of a and b
  int64_t batch = 0;
  int64_t rows = 0;
  int64_t inner = 0;
  int64_t columns = 0;
  const void* a = nullptr;  // [rows, inner], the rows a_stride elements apart; aligned to 16 bytes, as its rows are
  int64_t a_stride = 0;
  const void* b = nullptr;  // [batch, inner, columns]; aligned to 16 bytes
  float* out = nullptr;     // [batch, rows, columns]; written; aligned to 16 bytes
};

// Queues out[i] = a * b[i] for each i of the batch. Sums are f32, never split between blocks, in an order that depends
// on dtype, rows, inner, columns and a_stride: not on the batch, nor on a row's place. Thread-safe. Throws Error where
// cuBLASLt refuses.
void Matmul(CudaLane& lane, const MatmulArgs& args);

}  // namespace triforce
