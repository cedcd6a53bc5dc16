#include "runtime/ngram_draft_proposer.h"

#include <algorithm>

#include "kernels/core/check.h"
#include "offload/speculation_plan.h"

namespace triforce {
namespace {

// Some 30 tokens make up half of a rate.
constexpr double kFade = 0.977;

}  // namespace

void RecentRate::Fade() {
  tested_ *= kFade;
  right_ *= kFade;
}

void RecentRate::Add(bool right) {
  Fade();
  tested_ += 1;
  right_ += right;
}

void NgramDraftStats::Add(const NgramDraftStats& other) {
  lookups += other.lookups;
  drafts += other.drafts;
  tested += other.tested;
  accepted += other.accepted;
}

NgramDraftProposer::NgramDraftProposer(NgramProposer& lookup, DraftProposer& draft, int64_t tokens,
                                       const NgramDraftOptions& options)
    : lookup_(lookup), draft_(draft), options_(options), tokens_(tokens) {
  proposed_.reserve(options.most);
  looked_up_.reserve(options.most);
}

double NgramDraftProposer::LookupRate(int64_t matched) const {
  const double prior =
      std::min(1.0, options_.shortest_rate + options_.rate_per_token * static_cast<double>(matched - 1));
  return lookup_rates_[matched].Of(prior, options_.prior_weight);
}

double NgramDraftProposer::DraftRate(int64_t matched) const {
  return draft_rates_[matched].Of(draft_rate_.Of(options_.draft_rate, options_.prior_weight), options_.prior_weight);
}

// Tokens per time of the round that these proposals would make.
bool NgramDraftProposer::PromisesMore(int64_t matched, int64_t looked_up, int64_t most) const {
  return AcceptanceCurve(LookupRate(matched)).ExpectedTokens(looked_up) *
             (1 + options_.draft_cost * static_cast<double>(most)) >
         AcceptanceCurve(DraftRate(matched)).ExpectedTokens(most);
}

std::span<const Proposal> NgramDraftProposer::Propose(int64_t most, uint32_t round) {
  TF_CHECK(most >= 1 && most <= options_.most, "{} of {}", most, options_.most);
  call_ = {.open = true, .first = tokens_};
  std::span<const Proposal> proposals = lookup_.Propose(most, round);
  call_.matched = lookup_.matched();
  looked_up_.clear();
  for (const Proposal& proposal : proposals) looked_up_.push_back(proposal.token);
  call_.looked_up = !looked_up_.empty() && PromisesMore(call_.matched, std::ssize(looked_up_), most);
  proposed_.clear();
  if (call_.looked_up) {
    ++stats_.lookups;
    proposed_ = looked_up_;
    draft_.Continue(tokens_, proposed_);
  } else {
    ++stats_.drafts;
    proposals = draft_.Propose(most, round);
    for (const Proposal& proposal : proposals) proposed_.push_back(proposal.token);
    lookup_.Continue(tokens_, proposed_);
  }
  tokens_ += std::ssize(proposed_);
  return proposals;
}

void NgramDraftProposer::Continue(int64_t keep, std::span<const TokenId> more) {
  if (call_.open) Settle(keep, more);
  lookup_.Continue(keep, more);
  draft_.Continue(keep, more);
  tokens_ = keep + std::ssize(more);
}

// The first guess that did not come true is the first that was rejected: what is drawn in its place is another token.
void NgramDraftProposer::Settle(int64_t keep, std::span<const TokenId> more) {
  call_.open = false;
  if (keep < call_.first) return;                               // taken back untested
  const int64_t known = keep + std::ssize(more) - call_.first;  // tokens that have come where proposals stood
  const auto right = [&](TokenId guess, int64_t i) {
    const int64_t at = call_.first + i;
    return guess == (at < keep ? proposed_[i] : more[at - keep]);
  };
  RecentRate& lookup = lookup_rates_[call_.matched];
  if (call_.looked_up) {
    draft_rates_[call_.matched].Fade();
    for (int64_t i = 0; i < std::min(known, std::ssize(looked_up_)); ++i) {
      const bool accepted = right(looked_up_[i], i);
      lookup.Add(accepted);
      ++stats_.tested;
      if (!accepted) break;
      ++stats_.accepted;
    }
    return;
  }
  // Only the first: that a second one was handed out at all says that the draft was right.
  if (!looked_up_.empty() && known > 0) lookup.Add(right(looked_up_[0], 0));
  for (int64_t i = 0; i < std::min(known, std::ssize(proposed_)); ++i) {
    const bool accepted = right(proposed_[i], i);
    draft_rate_.Add(accepted);
    if (call_.matched > 0) draft_rates_[call_.matched].Add(accepted);
    if (!accepted) break;
  }
}

}  // namespace triforce
