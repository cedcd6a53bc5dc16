// ChunkPlaces: where the first and the last chunks of a text have gone in the order of their ranks.
#pragma once

#include <cstdint>

#include "kernels/core/lane.h"
#include "kernels/core/tensor.h"

namespace triforce {

struct ChunkPlacesArgs {
  TensorView order;    // i32 [kv_heads, chunks or more], dense: as ChunkRanking writes it
  int64_t chunks = 0;  // that are ranked
  int64_t first = 0;   // how many of the first, and
  int64_t last = 0;    // of the last chunks of the text are looked for
  TensorView places;   // i32 [kv_heads, first + last], dense; written
};

// Queues places[h][c] = the i with order[h][i] = c for the first chunks, and places[h][first + c] = the i with
// order[h][i] = chunks - last + c for the last ones. REQUIRES: shapes as said; first and last at most chunks; order's
// values in [0, chunks).
void ChunkPlaces(Lane& lane, const ChunkPlacesArgs& args);

}  // namespace triforce
