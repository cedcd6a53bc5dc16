#include "runtime/speculation.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>
#include <utility>

#include "kernels/core/check.h"
#include "offload/plan_sizes.h"
#include "runtime/device_verifier.h"
#include "runtime/draft_proposer.h"
#include "runtime/model_verifiers.h"
#include "runtime/ngram_proposer.h"
#include "runtime/replayed_draft.h"
#include "runtime/replayed_level.h"
#include "runtime/round_policy.h"
#include "runtime/routed_proposer.h"
#include "runtime/row_laws.h"

namespace triforce {
namespace {

struct NamedMode {
  std::string_view name;
  SpeculationMode mode;
};
constexpr std::array<NamedMode, 8> kModes = {{{"none", {}},
                                              {"draft", {false, Bottom::kDraft}},
                                              {"retrieval", {true, Bottom::kNone}},
                                              {"hierarchy", {true, Bottom::kDraft}},
                                              {"ngram", {false, Bottom::kNgram}},
                                              {"ngram+retrieval", {true, Bottom::kNgram}},
                                              {"ngram+draft", {false, Bottom::kNgramDraft}},
                                              {"ngram+hierarchy", {true, Bottom::kNgramDraft}}}};

// Of RandomCounter::level: whoever draws.
enum Drawer : uint8_t { kFirstToken, kBottom, kMiddle, kTop };

// A draft pass over a pass of the level above it, by the bytes that each reads: a run repeats, whatever rates were
// measured before it. Over a pass of the full cache, which may stream, it counts for nothing.
double DraftCost(const PlanInput& input, bool retrieval, int64_t budget_tokens) {
  if (!retrieval) return 0;
  const auto bytes = [&](const ModelShape& shape, int64_t tokens) {
    return static_cast<double>(shape.parameters() * SizeOf(shape.weight_type) +
                               tokens * shape.KvBytesPerToken(input.kv_type));
  };
  return bytes(input.draft->shape, input.draft->cache_tokens) / bytes(input.shape, budget_tokens);
}

// A row of spans, where there is a trace.
RoundTrace RowOf(Trace* trace, const char* row, const char* name) {
  return trace == nullptr ? RoundTrace{} : RoundTrace{trace, trace->AddRow(row), name};
}

}  // namespace

std::optional<SpeculationMode> ParseSpeculationMode(std::string_view name) {
  for (const NamedMode& named : kModes) {
    if (named.name == name) return named.mode;
  }
  return std::nullopt;
}

std::string Name(const SpeculationMode& mode) {
  for (const NamedMode& named : kModes) {
    if (named.mode == mode) return std::string(named.name);
  }
  TF_CHECK(false);
}

std::span<const std::string_view> SpeculationModeNames() {
  static const auto names = [] {
    std::array<std::string_view, kModes.size()> all;
    std::transform(kModes.begin(), kModes.end(), all.begin(), [](const NamedMode& named) { return named.name; });
    return all;
  }();
  return names;
}

void ProposerReport::Add(const ProposerReport& other) {
  tests.Add(other.tests);
  passes += other.passes;
  pass_ms += other.pass_ms;
  if (!other.lookup) return;
  if (!lookup) lookup.emplace();
  lookup->Add(*other.lookup);
}

void AddReports(std::vector<ProposerReport>& sums, std::span<const ProposerReport> more) {
  for (const ProposerReport& report : more) {
    const auto same = std::find_if(sums.begin(), sums.end(), [&](const ProposerReport& r) {
      return r.name == report.name && r.verifier == report.verifier;
    });
    same == sums.end() ? sums.push_back(report) : same->Add(report);
  }
}

LevelStats FullTests(std::span<const ProposerReport> reports) {
  LevelStats sum;
  for (const ProposerReport& report : reports) {
    if (report.verifier == "full") sum.Add(report.tests);
  }
  return sum;
}

struct Speculation::Parts {
  std::unique_ptr<FullVerifier> full;
  std::unique_ptr<DraftVerifier> draft;
  std::unique_ptr<DraftProposer> draft_proposer;
  std::unique_ptr<NgramProposer> ngram_proposer;
  std::unique_ptr<NgramDraftProposer> ngram_draft_proposer;  // of the two above
  std::unique_ptr<RetrievalVerifier> retrieval;
  std::unique_ptr<Level> middle;  // null where there is none
  // Null where nothing stays on the device: the two proposers of which one may stand below the top level, and who
  // tests what they hand out (null where the host does).
  std::unique_ptr<DeviceRounds> on_device;
  std::unique_ptr<ReplayedLevel> replayed_level;
  std::unique_ptr<ReplayedDraft> replayed_draft;
  std::unique_ptr<DeviceVerifier> deciding;
  std::unique_ptr<RoutedProposer> routed;  // null where there is one way only
  std::unique_ptr<Level> top;
  std::optional<RoundPolicy> policy;

  // What the levels' tests have come to, by who proposed: to the full cache, and to the retrieval cache.
  LevelStats plain_rounds, retrieval_rounds, bottom_rounds, middle_rounds;

  // To the top level.
  Proposer* upper() const {
    return replayed_level != nullptr ? static_cast<Proposer*>(replayed_level.get()) : middle.get();
  }
  Proposer* lower() const { return replayed_draft != nullptr ? replayed_draft.get() : bottom(); }
  Proposer* below_top() const {
    if (routed != nullptr) return routed.get();
    if (middle != nullptr) return upper();
    return lower();
  }
  Proposer* bottom() const {
    if (ngram_draft_proposer != nullptr) return ngram_draft_proposer.get();
    if (draft_proposer != nullptr) return draft_proposer.get();
    return ngram_proposer.get();
  }
};

Speculation::Speculation(Engine& engine, Session& session, const TensorView& logits, const SamplingOptions& sampling,
                         const SpeculationOptions& options, uint32_t sequence, Passes& passes)
    : engine_(engine),
      session_(session),
      passes_(passes),
      sampling_(sampling),
      options_(options),
      most_gamma_(options.adapts && !options.adapts->gamma ? options.adapts->most_gamma : options.gamma),
      sequence_(sequence),
      chance_(sampling.seed),
      parts_(std::make_unique<Parts>()) {
  TF_CHECK(!options.mode.none() && most_gamma_ >= 1 && most_gamma_ <= kMostGamma && options.draft_gamma >= 0,
           "gamma {}, draft gamma {}", most_gamma_, options.draft_gamma);
  given_.reserve(most_gamma_ + 1);
  RowLaws laws(engine.lane(), engine.config().vocab, sampling, session.tokens(), session.context_tokens());
  std::vector<float> law(laws.vocab());
  std::vector<WeightedToken> possible;
  laws.Write(logits, law);
  first_token_ =
      DrawFrom(Distribution(law), chance_,
               {.sequence = sequence, .round = 0, .level = kFirstToken, .purpose = RandomPurpose::kSample}, possible);
  std::vector<TokenId> tokens(session.tokens().begin(), session.tokens().end());
  tokens.push_back(first_token_);
  Build(std::move(tokens));
}

Speculation::~Speculation() = default;

void Speculation::Build(std::vector<TokenId> tokens) {
  Parts& p = *parts_;
  const auto trace = [&](const char* row, const char* name) { return RowOf(engine_.trace(), row, name); };
  const auto laws = [&] {
    return RowLaws(engine_.lane(), engine_.config().vocab, sampling_, session_.tokens(), session_.context_tokens());
  };
  const int64_t bottom_most = std::max(most_gamma_, options_.draft_gamma);
  if (options_.mode.drafts()) {
    TF_CHECK(engine_.draft() != nullptr, "no draft model");
    p.draft = std::make_unique<DraftVerifier>(*engine_.draft(), laws(), passes_);
    p.draft->TakeIn(session_.tokens());
    p.draft_proposer = std::make_unique<DraftProposer>(
        *p.draft, chance_, tokens,
        DraftOptions{
            .most = bottom_most, .sequence = sequence_, .number = kBottom, .trace = trace("draft", "draft pass")});
  }
  if (options_.mode.bottom == Bottom::kNgram || options_.mode.bottom == Bottom::kNgramDraft) {
    p.ngram_proposer = std::make_unique<NgramProposer>(tokens, session_.context_tokens() + kMostGamma + 1);
  }
  if (options_.mode.bottom == Bottom::kNgramDraft) {
    p.ngram_draft_proposer = std::make_unique<NgramDraftProposer>(
        *p.ngram_proposer, *p.draft_proposer, std::ssize(tokens),
        NgramDraftOptions{.most = bottom_most,
                          .draft_cost = DraftCost(engine_.plan().input, options_.mode.retrieval, BudgetTokens())});
  }
  if (options_.mode.retrieval) {
    session_.EnableRetrieval(options_.retrieval);
    p.retrieval = std::make_unique<RetrievalVerifier>(session_, laws(), passes_);
    const int64_t most_below = options_.adapts ? std::max(options_.draft_gamma, kMostDraftGamma) : options_.draft_gamma;
    p.middle =
        std::make_unique<Level>(p.bottom(), *p.retrieval, chance_, tokens,
                                LevelOptions{.gamma = options_.mode.bottom == Bottom::kNone ? 0 : most_below,
                                             .most = PlansRounds() ? std::max(most_gamma_, kMostReplayed) : most_gamma_,
                                             .sequence = sequence_,
                                             .number = kMiddle,
                                             .trace = trace("retrieval", "retrieval pass")});
  }
  p.full = std::make_unique<FullVerifier>(session_, laws(), passes_);
  const RoundTrace replays = PlansRounds() || StaysOnDevice() ? trace("replays", "rounds on the device") : RoundTrace{};
  if (StaysOnDevice()) BuildOnDevice(replays);
  if (PlansRounds()) {
    p.replayed_level = std::make_unique<ReplayedLevel>(p.on_device.get(), session_, *p.middle, p.draft.get(),
                                                       p.draft_proposer.get(), replays);
  }
  if (p.middle != nullptr && p.bottom() != nullptr) p.routed = std::make_unique<RoutedProposer>(*p.upper(), *p.lower());
  Verifier& verifier = p.deciding != nullptr ? static_cast<Verifier&>(*p.deciding) : *p.full;
  p.top = std::make_unique<Level>(p.below_top(), verifier, chance_, std::move(tokens),
                                  LevelOptions{.gamma = most_gamma_,
                                               .most = most_gamma_ + 1,
                                               .sequence = sequence_,
                                               .number = kTop,
                                               .trace = trace("rounds", "verify pass")});
  if (options_.adapts) {
    PassCosts costs = options_.costs ? *options_.costs : CostsOf(engine_.plan());
    costs.reselect_tokens = options_.retrieval.reselect_tokens;
    p.policy.emplace(*options_.adapts, std::move(costs), AssumedAcceptance(options_.mode, options_.assumed));
  }
}

int64_t Speculation::BudgetTokens() const {
  const int64_t own = options_.retrieval.budget_tokens;
  return own > 0 ? own : engine_.plan().input.options.budget_tokens;
}

Round Speculation::NextRound() const {
  if (parts_->policy) return parts_->policy->next();
  return {.retrieval = options_.mode.retrieval,
          .gamma = options_.gamma,
          .draft_gamma = options_.mode.retrieval && parts_->bottom() != nullptr ? options_.draft_gamma : 0};
}

bool Speculation::DeviceKnowsMode() const {
  const Bottom bottom = options_.mode.bottom;
  return engine_.lane().captures() && (bottom == Bottom::kNone || bottom == Bottom::kDraft);
}

bool Speculation::PlansRounds() const { return options_.mode.retrieval && DeviceKnowsMode(); }

bool Speculation::StaysOnDevice() const {
  return DeviceKnowsMode() && options_.on_device != SpeculationOptions::OnDevice::kNot && &passes_ == &PassesAlone() &&
         !sampling_.penalises() && (!options_.mode.retrieval || session_.captures_retrieval()) &&
         (options_.mode.bottom == Bottom::kNone || engine_.draft()->captures());
}

void Speculation::BuildOnDevice(const RoundTrace& trace) {
  Parts& p = *parts_;
  p.on_device = std::make_unique<DeviceRounds>(
      engine_, session_, p.draft.get(),
      DeviceRoundsOptions{.sampling = sampling_,
                          .sequence = sequence_,
                          .proposer = kBottom,
                          .accepter = kMiddle,
                          .captured = options_.on_device == SpeculationOptions::OnDevice::kReplayed,
                          .laws_stay = !sampling_.greedy()});
  if (p.draft_proposer != nullptr) {
    p.replayed_draft = std::make_unique<ReplayedDraft>(*p.on_device, *p.draft, *p.draft_proposer, trace);
  }
  // Greedily there is one logit of each row to look at, which the host does.
  if (!sampling_.greedy()) p.deciding = std::make_unique<DeviceVerifier>(*p.full, *p.on_device);
}

int64_t Speculation::PlannedRounds(const Round& round) const {
  const Parts& p = *parts_;
  const AcceptanceCurve bottom =
      p.policy ? p.policy->bottom() : AssumedAcceptance(options_.mode, options_.assumed).bottom;
  const double tokens = bottom.ExpectedTokens(round.draft_gamma);
  return std::max<int64_t>(1, std::llround(static_cast<double>(round.gamma) / tokens));
}

void Speculation::NoteRound(const Round& round) {
  Parts& p = *parts_;
  const LevelStats& top = p.top->stats();
  (round.gamma == 0 ? p.plain_rounds : round.retrieval ? p.retrieval_rounds : p.bottom_rounds).Add(top);
  if (round.retrieval) p.middle_rounds.Add(p.middle->stats());
  if (p.policy) p.policy->Note(top, round.retrieval ? &p.middle->stats() : nullptr);
  p.top->ClearStats();
  if (p.middle != nullptr) p.middle->ClearStats();
}

std::span<const GivenToken> Speculation::Next(int64_t most) {
  TF_CHECK(most >= 1);
  given_.clear();
  if (std::exchange(first_, false)) {
    given_.push_back({first_token_, TokenOrigin::kPlain});
    return given_;
  }
  Parts& p = *parts_;
  const Round round = NextRound();
  int64_t proposed = round.gamma, drawn = round.gamma;
  if (p.replayed_level != nullptr && round.retrieval && round.gamma > 0) {
    const int64_t rounds = std::min(PlannedRounds(round), most);
    // Also by what is still wanted: other sequences of a batch may have made the context longer than this one needs.
    const int64_t size = std::ssize(session_.tokens()) + 1, room = std::min(most, session_.context_tokens() - size);
    p.replayed_level->set_rounds(rounds, size + room);
    drawn = std::max(drawn, std::min({kMostReplayed, rounds * (round.draft_gamma + 1), room}));
    // Where nobody has said how many, all that the planned rounds bring.
    if (options_.adapts && !options_.adapts->gamma) proposed = std::min(most_gamma_, drawn);
  }
  most = std::min(most, proposed + 1);
  session_.ReserveTail(std::max(most, drawn + 1));
  p.top->set_gamma(proposed);
  if (round.retrieval) {
    p.middle->set_gamma(round.draft_gamma);
  } else {
    session_.Prefetch();
  }
  if (p.routed != nullptr) p.routed->set_past_upper(!round.retrieval);
  for (const Proposal& proposal : p.top->Round(most, ++round_)) {
    given_.push_back({proposal.token, TokenOrigin::kAccepted});
  }
  given_.back().origin = round.gamma == 0    ? TokenOrigin::kPlain
                         : p.top->rejected() ? TokenOrigin::kCorrected
                                             : TokenOrigin::kBonus;
  NoteRound(round);
  return given_;
}

std::vector<ProposerReport> Speculation::Report() const {
  const Parts& p = *parts_;
  std::vector<ProposerReport> reports;
  const auto add_bottom = [&](const char* verifier, const LevelStats& tests) {
    if (p.bottom() == nullptr) return;
    const bool first = reports.empty() || reports.back().name == "retrieval";
    ProposerReport report{.verifier = verifier, .tests = tests};
    if (p.draft_proposer == nullptr) {
      report.name = "ngram";
      report.pass_ms = tests.propose_ms;
    } else {
      report.name = p.ngram_draft_proposer != nullptr ? "draft+ngram" : "draft";
      report.passes = first ? p.draft_proposer->passes() : 0;
      report.pass_ms = first ? p.draft_proposer->pass_ms() : 0;
      if (p.ngram_draft_proposer != nullptr && first) report.lookup = p.ngram_draft_proposer->stats();
    }
    reports.push_back(std::move(report));
  };
  if (options_.mode.retrieval) {
    reports.push_back({"retrieval", "full", p.retrieval_rounds, p.middle_rounds.rounds, p.middle_rounds.verify_ms});
    add_bottom("retrieval", p.middle_rounds);
  }
  if (!options_.mode.retrieval || p.bottom_rounds.rounds > 0) add_bottom("full", p.bottom_rounds);
  if (p.plain_rounds.rounds > 0) reports.push_back({"none", "full", p.plain_rounds});
  return reports;
}

}  // namespace triforce
