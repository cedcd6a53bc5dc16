// Accept: tests a level's proposals against the laws of its verifier, and draws the token behind the last one that is
// accepted (speculative sampling: Leviathan et al., arXiv 2211.17192; DESIGN.md, rule 1).
//
// What runtime/level.h does on the host, for rounds that stay on the device.
#pragma once

#include "kernels/core/lane.h"
#include "kernels/core/random.h"
#include "kernels/core/tensor.h"

namespace triforce {

struct AcceptArgs {
  TensorView laws;      // f32 [proposals + 1, vocab], rows dense: p behind each prefix, as weights of any sum
  TensorView proposed;  // f32 [proposals, vocab], rows dense: q that each proposal was drawn from, likewise
  TensorView tokens;    // i32 [proposals], dense; each of positive weight in its q
  uint64_t seed = 0;
  RandomCounter first;  // of the first draw; `index` rises with each one, and `purpose` is what each is for
  TensorView out;       // i32 [proposals + 2], dense; written
  TensorView base = {};  // i64 [2] on the device, added to the first counter's round and index
};

// Queues, for each proposal x in order, until one is rejected: accepted with probability min(1, p(x) / q(x)); if
// rejected, a token drawn from max(0, p - q) stands in its place (from p where rounding leaves nothing of that). Where
// all are accepted, one more token is drawn from the last law. out[0] = how many were accepted, behind it the tokens
// that are handed out, one more than that, then -1. A law, of either kind, whose sum is not positive and finite
// gives out[0] = -1. REQUIRES: shapes as said; a proposal outside the vocabulary or of no weight in its q is a CHECK on
// the lane.
void Accept(Lane& lane, const AcceptArgs& args);

// The same on the calling thread, sums from the first token to the last. For tests.
void AcceptReference(const AcceptArgs& args);

}  // namespace triforce
