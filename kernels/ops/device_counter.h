// Random counters (kernels/core/random.h) whose round and index stand partly in device memory, for work that is
// captured once and replayed for other rounds.
#pragma once

#include <cstdint>

#include "kernels/core/random.h"
#include "kernels/core/tensor.h"

namespace triforce {

// REQUIRES of every op that takes one: i64 [2], dense: added to a counter's round and index. Or none.
inline void CheckDeviceCounter(const TensorView& base) {
  TF_CHECK(!base || (base.dtype() == DType::kI64 && base.dense() && base.elements() == 2), "{}", base.ToString());
}

constexpr RandomCounter Advance(RandomCounter counter, const int64_t* base) {
  if (base == nullptr) return counter;
  counter.round += static_cast<uint32_t>(base[0]);
  counter.index = static_cast<uint16_t>(counter.index + base[1]);
  return counter;
}

}  // namespace triforce
