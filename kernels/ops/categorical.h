// Categorical: draws an index from each row's distribution.
#pragma once

#include "kernels/core/lane.h"
#include "kernels/core/random.h"
#include "kernels/core/tensor.h"

namespace triforce {

struct CategoricalArgs {
  TensorView probabilities;  // f32 [rows, n], rows dense; none negative; they need not sum to 1
  TensorView random_bits;    // i32 [rows, 2], dense: 64 random bits a row, low half first; or none: those of counters
  TensorView out;            // i32 [rows], dense; written
  // Without random_bits: row r draws by the counter whose index stands r behind the first one's.
  uint64_t seed = 0;
  RandomCounter first = {};
  TensorView base = {};  // i64 [2] on the device, added to the first counter's round and index
  int32_t without = -1;  // written where a row is no law
};

// Queues out[r] = the first i at which the running sum, in double, passes u times the row's sum, where u in [0, 1) is
// the upper 53 bits; `without` where the row's sum is not positive and finite. Never an i of probability 0.
void Categorical(Lane& lane, const CategoricalArgs& args);

}  // namespace triforce
