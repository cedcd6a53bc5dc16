// The probability that one of several candidates for a position is accepted: drawn from q without replacement, tested
// one after the other, each against what the ones before have left of p (recursive rejection sampling: Jeon et al.,
// arXiv 2402.14160; Yang et al., arXiv 2401.06706).
#pragma once

#include <cstdint>
#include <span>

namespace triforce {

// `p`, `q`: weights over the vocabulary. Sums over all that can be drawn: time is the (candidates)th power of the
// tokens that q can draw. REQUIRES: candidates >= 1.
double CandidateAcceptance(std::span<const float> p, std::span<const float> q, int64_t candidates);

}  // namespace triforce
