#include "runtime/followed_sequence.h"

#include <algorithm>
#include <utility>

#include "kernels/core/check.h"

namespace triforce {

FollowedSequence::FollowedSequence(Verifier& verifier, std::vector<TokenId> tokens)
    : verifier_(verifier), tokens_(std::move(tokens)) {
  TF_CHECK(verifier.tokens() <= size(), "{} of {}", verifier.tokens(), size());
}

void FollowedSequence::Continue(int64_t keep, std::span<const TokenId> more) {
  TF_CHECK(keep <= size(), "{} of {}", keep, size());
  int64_t same = keep;  // what was guessed right stays in the cache
  while (same < size() && same - keep < static_cast<int64_t>(more.size()) && tokens_[same] == more[same - keep]) ++same;
  tokens_.resize(same);
  tokens_.insert(tokens_.end(), more.begin() + (same - keep), more.end());
  // The last token is always left to the next Run, which has laws to give.
  const int64_t most = std::min(same, size() - 1);
  // Also where its cache ends there already: the level above may have shortened that, of which its penalties have not
  // heard.
  if (verifier_.tokens() >= most) verifier_.Rewind(most);
}

void FollowedSequence::Run(std::span<float> laws) {
  verifier_.Run(std::span(tokens_).subspan(verifier_.tokens()), laws);
}

Decided FollowedSequence::Decide(int64_t proposals, const RandomCounter& first) {
  return verifier_.Decide(std::span(tokens_).subspan(verifier_.tokens()), proposals, first);
}

}  // namespace triforce
