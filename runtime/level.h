// Level: a speculative decoder. A proposer guesses some tokens, a verifier says the laws behind all of them in one
// pass, and what is handed out follows the verifier's law exactly. A Level is itself a proposer to the level above it.
//
// A proposal x with law q is accepted with min(1, p(x) / q(x)), p being the verifier's law; at the first rejection a
// token is drawn from the positive part of p - q, and where all are accepted one more from p (Leviathan et al., arXiv
// 2211.17192; Chen et al., arXiv 2302.01318). Each token handed out has thereby the law p given those before it,
// however it came about, and that is the q which the level above tests it against. All arithmetic on laws is in double.
//
// Not thread-safe. Proposer, verifier and chance outlive it.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "runtime/chance.h"
#include "runtime/followed_sequence.h"
#include "runtime/proposer.h"
#include "runtime/round_counters.h"
#include "runtime/round_trace.h"
#include "runtime/verifier.h"

namespace triforce {

struct LevelOptions {
  int64_t gamma = 4;      // tokens proposed a round; 0: plain decoding
  int64_t most = 1;       // tokens handed out by one call of Propose, at most
  uint32_t sequence = 0;  // of RandomCounter
  uint8_t number = 0;     // of RandomCounter, another one for each proposer of a hierarchy
  RoundTrace trace = {};  // of the verifier's passes
};

// What has happened so far.
struct LevelStats {
  int64_t rounds = 0;    // passes of the verifier
  int64_t proposed = 0;  // tokens
  int64_t tested = 0;    // up to the first rejection in each round
  int64_t accepted = 0;
  int64_t handed_out = 0;                     // accepted, drawn after a rejection, and drawn behind all proposals
  std::vector<int64_t> tested_by_position;    // [the level's largest gamma]
  std::vector<int64_t> accepted_by_position;  // [the same]
  double propose_ms = 0;                      // in the proposer
  double verify_ms = 0;                       // in the verifier

  double acceptance() const { return tested == 0 ? 0 : static_cast<double>(accepted) / static_cast<double>(tested); }
  double tokens_per_round() const {
    return rounds == 0 ? 0 : static_cast<double>(handed_out) / static_cast<double>(rounds);
  }
  // Of several rounds or runs.
  void Add(const LevelStats& other);
  // As if nothing had happened. Allocates nothing.
  void Clear();
};

class Level final : public Proposer {
 public:
  // `tokens`: the sequence so far; the verifier has all of it but the last token, or less; `below` has been told of it.
  // `below` may be null where gamma is 0. REQUIRES: at least one token; most >= 1; 0 <= gamma.
  Level(Proposer* below, Verifier& verifier, Chance& chance, std::vector<TokenId> tokens, const LevelOptions& options);

  // One round: hands out at least one token and at most `most`, which now belong to the sequence. Valid until the next
  // call. REQUIRES: 1 <= most <= LevelOptions::most.
  std::span<const Proposal> Round(int64_t most, uint32_t round);

  // Rounds until there are `most`.
  std::span<const Proposal> Propose(int64_t most, uint32_t round) override;
  // So many rounds of the level's gamma, and the first `most` tokens of what they give. REQUIRES: rounds * (gamma + 1)
  // <= LevelOptions::most.
  std::span<const Proposal> ProposeRounds(int64_t rounds, int64_t most, uint32_t round);
  void Continue(int64_t keep, std::span<const TokenId> more) override;

  // The most tokens that a round tests from now on.
  void set_gamma(int64_t gamma);
  int64_t gamma() const { return gamma_; }
  // Rounds of `proposed` tokens each have been run elsewhere (replayed_level.h), took so long, and accepted so many;
  // their tokens come by Continue.
  void Note(int64_t proposed, std::span<const int32_t> accepted, double ms);
  // Since ClearStats, or from the beginning.
  const LevelStats& stats() const { return stats_; }
  void ClearStats() { stats_.Clear(); }
  // Whether the latest round ended with a token drawn after a rejection, and not with one behind all proposals.
  bool rejected() const { return rejected_; }
  std::span<const TokenId> tokens() const { return sequence_.tokens(); }

 private:
  void RunRound(int64_t most, uint32_t round);
  void Test(std::span<const Proposal> proposals, std::span<const float> laws, uint32_t round);
  // Where the verifier tests them. The laws of what is then handed out are not known here.
  void LetDecide(std::span<const Proposal> proposals, uint32_t round);
  void Tally(int64_t proposed, int64_t accepted);
  void HandOut(TokenId token, const Distribution& law);
  TokenId DrawResidual(const Distribution& law, const Distribution& proposed, uint32_t round);

  Proposer* const below_;
  Verifier& verifier_;
  Chance& chance_;
  const LevelOptions options_;
  const int64_t vocab_;
  int64_t gamma_;
  FollowedSequence sequence_;
  std::vector<float> laws_;              // [most, vocab]: those of handed_out_, one behind the other
  std::vector<Proposal> handed_out_;     // since the last call
  std::vector<TokenId> told_;            // their tokens, for below_
  std::vector<WeightedToken> residual_;  // what is drawn from
  RoundCounters counters_;
  LevelStats stats_;
  bool rejected_ = false;
};

}  // namespace triforce
