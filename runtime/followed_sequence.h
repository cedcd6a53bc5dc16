// FollowedSequence: a sequence of tokens, and a Verifier that follows it, some tokens behind.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "models/token_id.h"
#include "runtime/verifier.h"

namespace triforce {

class FollowedSequence {
 public:
  // `tokens` begin with those that the verifier has.
  FollowedSequence(Verifier& verifier, std::vector<TokenId> tokens);

  int64_t size() const { return static_cast<int64_t>(tokens_.size()); }
  std::span<const TokenId> tokens() const { return tokens_; }

  // The sequence is its first `keep` tokens and then `more`. What the verifier has beyond what stays is forgotten, and
  // the last token in any case. REQUIRES: a token at least.
  void Continue(int64_t keep, std::span<const TokenId> more);
  void Add(TokenId token) { tokens_.push_back(token); }

  // Lets the verifier take in all that it has not yet. Writes the laws behind the last tokens, as many as fit.
  void Run(std::span<float> laws);
  // The same, with the decision on its last `proposals` tokens (Verifier::Decide).
  Decided Decide(int64_t proposals, const RandomCounter& first);

 private:
  Verifier& verifier_;
  std::vector<TokenId> tokens_;
};

}  // namespace triforce
