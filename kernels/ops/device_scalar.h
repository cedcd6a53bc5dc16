// Numbers in device memory that ops add to what they are given by value: lengths and positions of work that is captured
// once and replayed with others (lane.h).
#pragma once

#include <cstdint>

#include "kernels/core/tensor.h"

namespace triforce {

// REQUIRES of every op that takes one: an i64, or none at all, which counts as 0.
inline void CheckDeviceScalar(const TensorView& t) {
  TF_CHECK(!t || (t.dtype() == DType::kI64 && t.elements() == 1), "{}", t.ToString());
}

// Its address, for kernels; null where there is none.
inline const int64_t* AddressOfScalar(const TensorView& t) { return t ? t.as<int64_t>() : nullptr; }

// What it is when the lane of a CPU device comes to it.
inline int64_t ValueOfScalar(const TensorView& t) { return t ? *t.as<int64_t>() : 0; }

}  // namespace triforce
