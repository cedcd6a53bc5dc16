// HandOut: what Accept has decided becomes part of the sequence, on the device: tokens and their laws are collected,
// and the lengths, positions and counters move on that the next, identical work is to read (runtime/device_rounds.h).
#pragma once

#include <cstdint>

#include "kernels/core/lane.h"
#include "kernels/core/tensor.h"

namespace triforce {

// Where the numbers of HandOutArgs::state stand.
enum HandOutState : int64_t {
  kHandedOut,                               // tokens so far
  kRounds,                                  // that handed any out
  kLawless,                                 // rounds that had no law
  kProposerCounter,                         // round and next index of the proposer's random counters
  kAccepterCounter = kProposerCounter + 2,  // the same of who accepts
  kMoves = kAccepterCounter + 2,            // from here on: numbers that rise by one with each token handed out
};

struct HandOutArgs {
  TensorView decided;  // i32 [proposals + 2], dense: as Accept writes it
  TensorView laws;     // f32 [proposals + 1, vocab], rows dense: what the tokens' laws were
  // Read and written:
  TensorView state;  // i64 [kMoves or more], dense
  TensorView last;   // i32 [2], dense: the last two tokens of the sequence
  // Written, behind what is there:
  TensorView tokens;    // i32 [most], dense
  TensorView law_rows;  // f32 [most, vocab], rows dense; none: laws are not collected
  TensorView accepted;  // i32 [most], dense: of each round, how many proposals were
};

// Queues that. A round whose laws were none hands nothing out, moves nothing on and is counted. REQUIRES: shapes as
// said; more tokens or rounds than there is room for are a CHECK on the lane.
void HandOut(Lane& lane, const HandOutArgs& args);

}  // namespace triforce
