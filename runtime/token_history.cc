#include "runtime/token_history.h"

#include "kernels/core/check.h"

namespace triforce {

TokenHistory::TokenHistory(int64_t vocab) : places_(vocab, -1) {
  tokens_.reserve(vocab);
  counts_.reserve(vocab);
}

int64_t TokenHistory::Find(TokenId token) {
  int32_t& place = places_[ToInt(token)];
  if (place < 0) {
    place = static_cast<int32_t>(tokens_.size());
    tokens_.push_back(ToInt(token));
    counts_.push_back(0);
  }
  return place;
}

void TokenHistory::AddPrompt(std::span<const TokenId> tokens) {
  for (TokenId token : tokens) Find(token);
  prompt_tokens_ = static_cast<int64_t>(tokens_.size());
}

void TokenHistory::AddOutput(TokenId token) { ++counts_[Find(token)]; }

void TokenHistory::RemoveOutput(TokenId token) {
  const int32_t place = places_[ToInt(token)];
  TF_CHECK(place >= 0 && counts_[place] > 0, "token {} is not in the output", ToInt(token));
  if (--counts_[place] > 0 || place < prompt_tokens_) return;
  // What appeared first behind it has been taken back before it.
  TF_CHECK(place + 1 == static_cast<int32_t>(tokens_.size()), "token {} is not the latest", ToInt(token));
  tokens_.pop_back();
  counts_.pop_back();
  places_[ToInt(token)] = -1;
}

}  // namespace triforce
