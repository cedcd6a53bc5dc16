#include "runtime/replayed_level.h"

#include <algorithm>

#include "kernels/core/check.h"
#include "offload/plan_sizes.h"
#include "offload/round_costs.h"
#include "runtime/replayed_draft.h"

namespace triforce {

ReplayedLevel::ReplayedLevel(DeviceRounds* rounds, Session& session, Level& level, DraftVerifier* draft,
                             DraftProposer* bottom, RoundTrace trace)
    : rounds_(rounds), session_(session), level_(level), draft_(draft), bottom_(bottom), trace_(trace) {
  TF_CHECK((draft == nullptr) == (bottom == nullptr) && (rounds == nullptr || session.captures_retrieval()));
}

int64_t ReplayedLevel::RoundsWithRoom(int64_t most) const {
  const int64_t drafts = level_.gamma(), size = std::ssize(level_.tokens());
  if (drafts > kMostDraftGamma || (drafts > 0 && draft_ == nullptr) || size < 2) return 0;
  const int64_t room = std::min(session_.context_tokens(), longest_) - size;
  return std::min({planned_, most, kMostReplayed / (drafts + 1), room / (drafts + 1)});
}

bool ReplayedLevel::Prepare(RoundsToRun& run) {
  run.text = level_.tokens();
  const int64_t size = std::ssize(run.text);
  // Otherwise it has more to take in than a round does.
  if (session_.retrieval_tokens() != size - 1) return false;
  if (run.draft_gamma > 0 && !BringUp(*draft_, run.text, 2, run.MostTokens())) return false;
  const std::optional<RetrievalAhead> ahead = session_.PrepareRetrieval(run.MostTokens());
  if (!ahead) return false;
  run.ahead = *ahead;
  return true;
}

std::span<const Proposal> ReplayedLevel::Propose(int64_t most, uint32_t round) {
  RoundsToRun run{.rounds = RoundsWithRoom(most), .draft_gamma = level_.gamma(), .round = round};
  const int64_t begin_ns = Trace::Now();
  if (run.rounds < 1) return level_.Propose(most, round);
  if (rounds_ == nullptr || !Prepare(run)) return level_.ProposeRounds(run.rounds, most, round);
  const HandedOut handed_out = rounds_->Run(run);
  const int64_t kept = std::min(most, std::ssize(handed_out.tokens));
  Conclude(handed_out, kept, run);
  const int64_t end_ns = Trace::Now();
  trace_.Add(begin_ns, end_ns);
  level_.Note(run.draft_gamma, handed_out.accepted, static_cast<double>(end_ns - begin_ns) * 1e-6);
  if (run.draft_gamma > 0) bottom_->Note(run.rounds * run.draft_gamma, 0);
  ++replayed_calls_;
  return handed_out.proposals.first(kept);
}

void ReplayedLevel::Conclude(const HandedOut& handed_out, int64_t kept, const RoundsToRun& run) {
  const int64_t before = std::ssize(level_.tokens()), drawn = std::ssize(handed_out.tokens);
  level_.Continue(before, handed_out.tokens.first(kept));
  // The last token is always left to the next pass.
  session_.TakeRetrieval(before + kept - 1);
  if (run.draft_gamma == 0) return;
  // Of a round whose drafts were all accepted the draft has not seen the last one.
  const int64_t unseen = handed_out.accepted.back() == run.draft_gamma ? 2 : 1;
  StreamingCache& cache = draft_->cache();
  cache.Take(std::max(cache.tokens(), std::min(before + drawn - unseen, before + kept - 1)));
  draft_->Follow(level_.tokens());
}

}  // namespace triforce
