// Peak: loops that run into one limit of a device each, for measuring what the other ops are held against.
#pragma once

#include <cstdint>

#include "kernels/core/lane.h"
#include "kernels/core/tensor.h"

namespace triforce {

// Queues reading every byte of `data` once, with all of the lane's threads (STREAM's read, without its copy).
// REQUIRES: f32, dense, a multiple of 4,096 elements; `sink` is f32 [at least one]; something is added to it.
void PeakRead(Lane& lane, const TensorView& data, const TensorView& sink);

// Queues at least `fmas` f32 fused multiply-adds on values in registers, with all of the lane's threads; returns how
// many. REQUIRES: `sink` is f32 [at least one]; something is added to it.
int64_t PeakFma(Lane& lane, int64_t fmas, const TensorView& sink);

}  // namespace triforce
