#include "tools/bench/acceptance_measurement.h"

#include <algorithm>
#include <utility>

#include "kernels/core/check.h"
#include "runtime/chance.h"
#include "runtime/draft_model.h"
#include "runtime/model_verifiers.h"
#include "tools/bench/candidate_acceptance.h"

namespace triforce {
namespace {

// The probability that a proposal with law q is accepted against p.
double Overlap(std::span<const float> p, std::span<const float> q) {
  const Distribution target(p), proposed(q);
  double sum = 0;
  for (int32_t i = 0; i < static_cast<int32_t>(p.size()); ++i) {
    sum += std::min(target.probability(TokenId{i}), proposed.probability(TokenId{i}));
  }
  return sum;
}

}  // namespace

AcceptanceMeasurement::AcceptanceMeasurement(Engine& engine, const AcceptanceSettings& settings,
                                             std::vector<TokenId> prompt)
    : engine_(engine),
      settings_(settings),
      prompt_(std::move(prompt)),
      prefilled_(engine.NewSession()),
      session_(engine.NewSession()) {
  TF_CHECK(settings.tokens >= 2 && settings.verify_every >= 1);
  prefilled_->Append(prompt_);
}

RowLaws AcceptanceMeasurement::NewLaws() const {
  return RowLaws(engine_.lane(), engine_.config().vocab, sampling_, prompt_, session_->context_tokens());
}

void AcceptanceMeasurement::GoBack() { session_->CopyFrom(*prefilled_); }

void AcceptanceMeasurement::Draw(float temperature) {
  sampling_.filter = {.temperature = temperature, .top_p = settings_.top_p};
  GoBack();
  session_->Rewind(std::ssize(prompt_) - 1);
  FullVerifier full(*session_, NewLaws());
  SeededChance chance(settings_.seed);
  std::vector<WeightedToken> possible;
  std::vector<float> law(full.vocab());
  TokenId last = prompt_.back();
  drawn_.clear();
  target_.clear();
  for (int64_t i = 0; i < settings_.tokens; ++i) {
    full.Run({&last, 1}, law);
    last = DrawFrom(Distribution(law), chance, {.round = static_cast<uint32_t>(i)}, possible);
    if (i > 0) target_.push_back(law);
    drawn_.push_back(last);
  }
}

AcceptanceMeasurement::Laws AcceptanceMeasurement::MiddleLaws(const RetrievalOptions& options) {
  GoBack();
  session_->EnableRetrieval(options);
  FullVerifier full(*session_, NewLaws());
  RetrievalVerifier middle(*session_, NewLaws());
  Laws laws(Positions(), std::vector<float>(full.vocab()));
  std::vector<float> ignored(full.vocab());
  for (int64_t i = 0; i < Positions(); ++i) {
    middle.Run({&drawn_[i], 1}, laws[i]);
    if ((i + 1) % settings_.verify_every != 0) continue;
    full.Run(std::span(drawn_).subspan(i + 1 - settings_.verify_every, settings_.verify_every), ignored);
  }
  return laws;
}

AcceptanceMeasurement::Laws AcceptanceMeasurement::DraftLaws() {
  TF_CHECK(engine_.draft() != nullptr);
  DraftVerifier draft(*engine_.draft(), NewLaws());
  draft.TakeIn(prompt_);
  Laws laws(Positions(), std::vector<float>(draft.vocab()));
  for (int64_t i = 0; i < Positions(); ++i) draft.Run({&drawn_[i], 1}, laws[i]);
  return laws;
}

double AcceptanceMeasurement::MeanOverlap(const Laws& laws) const {
  double sum = 0;
  for (int64_t i = 0; i < Positions(); ++i) sum += Overlap(target_[i], laws[i]);
  return sum / static_cast<double>(Positions());
}

double AcceptanceMeasurement::OfMiddle(const RetrievalOptions& options) { return MeanOverlap(MiddleLaws(options)); }

double AcceptanceMeasurement::OfDraft() { return MeanOverlap(DraftLaws()); }

double AcceptanceMeasurement::OfCandidates(const RetrievalOptions& options, int64_t candidates) {
  const Laws middle = MiddleLaws(options), draft = DraftLaws();
  double sum = 0;
  for (int64_t i = 0; i < Positions(); ++i) sum += CandidateAcceptance(middle[i], draft[i], candidates);
  return sum / static_cast<double>(Positions());
}

// The sum over x of min(p, q)(x) times the acceptance behind x, estimated with the x that the target has drawn.
double AcceptanceMeasurement::OfTwoInARow(const RetrievalOptions& options) {
  const Laws middle = MiddleLaws(options), draft = DraftLaws();
  double sum = 0;
  for (int64_t i = 0; i + 1 < Positions(); ++i) {
    const TokenId x = drawn_[i + 1];
    const double p = Distribution(middle[i]).probability(x), q = Distribution(draft[i]).probability(x);
    sum += std::min(p, q) / Distribution(target_[i]).probability(x) * Overlap(middle[i + 1], draft[i + 1]);
  }
  return sum / static_cast<double>(Positions() - 1);
}

}  // namespace triforce
