#include "runtime/replayed_draft.h"

#include <algorithm>

#include "offload/plan_sizes.h"

namespace triforce {

bool BringUp(DraftVerifier& draft, std::span<const TokenId> text, int64_t left, int64_t tokens) {
  StreamingCache& cache = draft.cache();
  const int64_t wanted = std::ssize(text) - left;
  if (wanted < cache.sink_tokens()) return false;  // sinks are kept by passes of the host
  if (cache.tokens() < wanted) {
    draft.model().QueueTakingIn(text.subspan(cache.tokens(), wanted - cache.tokens()), cache);
    draft.Follow(text);
  }
  // What is taken in again has its place already.
  return cache.Reserve(left + tokens);
}

std::span<const Proposal> ReplayedDraft::Propose(int64_t most, uint32_t round) {
  const std::span<const TokenId> text = bottom_.tokens();
  const int64_t before = std::ssize(text);
  const int64_t begin_ns = Trace::Now();
  if (most > kMostReplayed || before < 2 || !BringUp(draft_, text, 1, most)) return bottom_.Propose(most, round);
  const HandedOut drafted = rounds_.Run({.rounds = most, .retrieval = false, .round = round, .text = text});
  bottom_.Continue(before, drafted.tokens);
  draft_.cache().Take(before + most - 1);  // the last token is left to the next pass
  draft_.Follow(bottom_.tokens());
  const int64_t end_ns = Trace::Now();
  trace_.Add(begin_ns, end_ns);
  bottom_.Note(most, static_cast<double>(end_ns - begin_ns) * 1e-6);
  ++replayed_calls_;
  return drafted.proposals;
}

}  // namespace triforce
