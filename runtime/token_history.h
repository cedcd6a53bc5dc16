// TokenHistory: the tokens that penalties look at.
//
// Not thread-safe; its memory is taken once.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "models/token_id.h"

namespace triforce {

// Adding and removing a token is O(1); a copy is one per distinct token.
class TokenHistory {
 public:
  explicit TokenHistory(int64_t vocab);
  void AddPrompt(std::span<const TokenId> tokens);
  void AddOutput(TokenId token);
  // Takes back the latest AddOutput that has not been taken back. REQUIRES: it was of `token`.
  void RemoveOutput(TokenId token);

  // Distinct tokens, in order of first appearance, and how often each is in the output.
  std::span<const int32_t> tokens() const { return tokens_; }
  std::span<const int32_t> output_counts() const { return counts_; }

 private:
  int64_t Find(TokenId token);   // its place in tokens_, made where it has none
  std::vector<int32_t> places_;  // [vocab], -1: not there
  std::vector<int32_t> tokens_;  // those of the prompt first
  std::vector<int32_t> counts_;
  int64_t prompt_tokens_ = 0;  // distinct ones
};

}  // namespace triforce
