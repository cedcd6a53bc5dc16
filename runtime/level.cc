#include "runtime/level.h"

#include <algorithm>
#include <utility>

#include "kernels/core/check.h"

namespace triforce {

void LevelStats::Add(const LevelStats& other) {
  rounds += other.rounds;
  proposed += other.proposed;
  tested += other.tested;
  accepted += other.accepted;
  handed_out += other.handed_out;
  propose_ms += other.propose_ms;
  verify_ms += other.verify_ms;
  const size_t places = std::max(tested_by_position.size(), other.tested_by_position.size());
  tested_by_position.resize(places);
  accepted_by_position.resize(places);
  for (size_t i = 0; i < other.tested_by_position.size(); ++i) {
    tested_by_position[i] += other.tested_by_position[i];
    accepted_by_position[i] += other.accepted_by_position[i];
  }
}

void LevelStats::Clear() {
  std::fill(tested_by_position.begin(), tested_by_position.end(), 0);
  std::fill(accepted_by_position.begin(), accepted_by_position.end(), 0);
  LevelStats cleared{.tested_by_position = std::move(tested_by_position),
                     .accepted_by_position = std::move(accepted_by_position)};
  *this = std::move(cleared);
}

Level::Level(Proposer* below, Verifier& verifier, Chance& chance, std::vector<TokenId> tokens,
             const LevelOptions& options)
    : below_(below),
      verifier_(verifier),
      chance_(chance),
      options_(options),
      vocab_(verifier.vocab()),
      gamma_(options.gamma),
      sequence_(verifier, std::move(tokens)),
      laws_(options.most * vocab_),
      counters_(options.sequence, options.number) {
  TF_CHECK(options.most >= 1 && options.gamma >= 0 && (below != nullptr || options.gamma == 0));
  TF_CHECK(sequence_.size() > verifier.tokens(), "the last token is left to the first round");
  stats_.tested_by_position.resize(options.gamma);
  stats_.accepted_by_position.resize(options.gamma);
  handed_out_.reserve(options.most);
  residual_.reserve(vocab_);
}

void Level::set_gamma(int64_t gamma) {
  TF_CHECK(gamma >= 0 && gamma <= options_.gamma, "{} of {}", gamma, options_.gamma);
  gamma_ = gamma;
}

void Level::Note(int64_t proposed, std::span<const int32_t> accepted, double ms) {
  for (const int32_t count : accepted) {
    Tally(proposed, count);
    ++stats_.rounds;
    stats_.proposed += proposed;
    stats_.handed_out += count + 1;
  }
  stats_.verify_ms += ms;
}

void Level::Tally(int64_t proposed, int64_t accepted) {
  stats_.accepted += accepted;
  for (int64_t i = 0; i < std::min(proposed, accepted + 1); ++i) {
    ++stats_.tested;
    ++stats_.tested_by_position[i];
    stats_.accepted_by_position[i] += i < accepted;
  }
}

std::span<const Proposal> Level::Round(int64_t most, uint32_t round) {
  handed_out_.clear();
  RunRound(most, round);
  return handed_out_;
}

std::span<const Proposal> Level::Propose(int64_t most, uint32_t round) {
  handed_out_.clear();
  while (static_cast<int64_t>(handed_out_.size()) < most) {
    RunRound(most - static_cast<int64_t>(handed_out_.size()), round);
  }
  return handed_out_;
}

std::span<const Proposal> Level::ProposeRounds(int64_t rounds, int64_t most, uint32_t round) {
  handed_out_.clear();
  const int64_t before = sequence_.size();
  for (int64_t i = 0; i < rounds; ++i) RunRound(gamma_ + 1, round);
  if (std::ssize(handed_out_) > most) {
    handed_out_.erase(handed_out_.begin() + most, handed_out_.end());
    Continue(before + most, {});
  }
  return handed_out_;
}

void Level::Continue(int64_t keep, std::span<const TokenId> more) {
  sequence_.Continue(keep, more);
  if (below_ != nullptr) below_->Continue(keep, more);
}

void Level::RunRound(int64_t most, uint32_t round) {
  const int64_t already = static_cast<int64_t>(handed_out_.size());
  TF_CHECK(most >= 1 && already + most <= options_.most, "{} behind {} of {}", most, already, options_.most);
  // A round may hand out one more than it tests.
  const int64_t wanted = std::min(gamma_, most - 1);
  std::span<const Proposal> proposals;
  const int64_t begin_ns = Trace::Now();
  if (wanted > 0) proposals = below_->Propose(wanted, round);
  const int64_t proposed_ns = Trace::Now();
  const int64_t before = sequence_.size();
  for (const Proposal& proposal : proposals) sequence_.Add(proposal.token);
  const bool decided = verifier_.Decides(proposals);
  const std::span<float> laws =
      std::span(laws_).subspan(already * vocab_, (static_cast<int64_t>(proposals.size()) + 1) * vocab_);
  decided ? LetDecide(proposals, round) : sequence_.Run(laws);
  const int64_t verified_ns = Trace::Now();
  options_.trace.Add(proposed_ns, verified_ns);
  stats_.propose_ms += static_cast<double>(proposed_ns - begin_ns) * 1e-6;
  stats_.verify_ms += static_cast<double>(verified_ns - proposed_ns) * 1e-6;
  if (!decided) Test(proposals, laws, round);
  told_.clear();
  for (size_t i = already; i < handed_out_.size(); ++i) told_.push_back(handed_out_[i].token);
  Continue(before, told_);
  ++stats_.rounds;
  stats_.proposed += static_cast<int64_t>(proposals.size());
  stats_.handed_out += static_cast<int64_t>(told_.size());
}

void Level::Test(std::span<const Proposal> proposals, std::span<const float> laws, uint32_t round) {
  rejected_ = false;
  for (size_t i = 0; i < proposals.size(); ++i) {
    const Distribution law(laws.subspan(i * vocab_, vocab_));
    const auto& [token, proposed] = proposals[i];
    ++stats_.tested;
    ++stats_.tested_by_position[i];
    const double p = law.probability(token), q = proposed.probability(token);
    TF_CHECK(q > 0, "token {} was proposed against its law", ToInt(token));
    if (!chance_.Happens(p / q, counters_.Next(round, RandomPurpose::kAccept))) {
      rejected_ = true;
      return HandOut(DrawResidual(law, proposed, round), law);
    }
    ++stats_.accepted;
    ++stats_.accepted_by_position[i];
    HandOut(token, law);
  }
  const Distribution law(laws.subspan(proposals.size() * vocab_, vocab_));
  HandOut(DrawFrom(law, chance_, counters_.Next(round, RandomPurpose::kBonus), residual_), law);
}

void Level::LetDecide(std::span<const Proposal> proposals, uint32_t round) {
  const int64_t count = std::ssize(proposals);
  const auto [accepted, next] = sequence_.Decide(count, counters_.Next(round, RandomPurpose::kAccept));
  rejected_ = accepted < count;
  // A test each, and one draw.
  for (int64_t taken = 1; taken < accepted + (rejected_ ? 2 : 1); ++taken)
    counters_.Next(round, RandomPurpose::kAccept);
  Tally(count, accepted);
  for (const Proposal& proposal : proposals.first(accepted))
    HandOut(proposal.token, Distribution::Point(proposal.token));
  HandOut(next, Distribution::Point(next));
}

void Level::HandOut(TokenId token, const Distribution& law) { handed_out_.push_back({token, law}); }

TokenId Level::DrawResidual(const Distribution& law, const Distribution& proposed, uint32_t round) {
  const RandomCounter counter = counters_.Next(round, RandomPurpose::kResidual);
  residual_.clear();
  law.ForEachPossible([&](TokenId token, double p) {
    const double left = p - proposed.probability(token);
    if (left > 0) residual_.push_back({token, left});
  });
  if (!residual_.empty()) return chance_.Draw(residual_, counter);
  return DrawFrom(law, chance_, counter, residual_);  // p and q are equal but for rounding
}

}  // namespace triforce
