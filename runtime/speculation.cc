#include "runtime/speculation.h"

#include <algorithm>
#include <array>
#include <utility>

#include "kernels/core/check.h"
#include "runtime/draft_proposer.h"
#include "runtime/model_verifiers.h"
#include "runtime/ngram_proposer.h"
#include "runtime/row_laws.h"

namespace triforce {
namespace {

struct NamedMode {
  std::string_view name;
  SpeculationMode mode;
};
constexpr std::array<NamedMode, 6> kModes = {{{"none", {}},
                                              {"draft", {false, Bottom::kDraft}},
                                              {"retrieval", {true, Bottom::kNone}},
                                              {"hierarchy", {true, Bottom::kDraft}},
                                              {"ngram", {false, Bottom::kNgram}},
                                              {"ngram+retrieval", {true, Bottom::kNgram}}}};

// Of RandomCounter::level: whoever draws.
enum Drawer : uint8_t { kFirstToken, kBottom, kMiddle, kTop };

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
}

struct Speculation::Parts {
  std::unique_ptr<FullVerifier> full;
  std::unique_ptr<DraftVerifier> draft;
  std::unique_ptr<DraftProposer> draft_proposer;
  std::unique_ptr<NgramProposer> ngram_proposer;
  std::unique_ptr<RetrievalVerifier> retrieval;
  std::unique_ptr<Level> middle;  // null where there is none
  std::unique_ptr<Level> top;

  Proposer* below_top() const {
    if (middle != nullptr) return middle.get();
    return bottom();
  }
  Proposer* bottom() const {
    if (draft_proposer != nullptr) return draft_proposer.get();
    return ngram_proposer.get();
  }
};

Speculation::Speculation(Engine& engine, Session& session, const TensorView& logits, const SamplingOptions& sampling,
                         const SpeculationOptions& options, uint32_t sequence)
    : engine_(engine),
      session_(session),
      sampling_(sampling),
      options_(options),
      sequence_(sequence),
      chance_(sampling.seed),
      parts_(std::make_unique<Parts>()) {
  TF_CHECK(!options.mode.none() && options.gamma >= 1 && options.gamma <= kMostGamma && options.draft_gamma >= 0,
           "gamma {}, draft gamma {}", options.gamma, options.draft_gamma);
  given_.reserve(options.gamma + 1);
  RowLaws laws(engine.lane(), engine.config().vocab, sampling, session.tokens(), session.context_tokens());
  std::vector<float> law(laws.vocab());
  std::vector<double> weights(laws.vocab());
  laws.Write(logits, law);
  first_token_ =
      DrawFrom(Distribution(law), chance_,
               {.sequence = sequence, .round = 0, .level = kFirstToken, .purpose = RandomPurpose::kSample}, weights);
  std::vector<TokenId> tokens(session.tokens().begin(), session.tokens().end());
  tokens.push_back(first_token_);
  Build(std::move(tokens));
}

Speculation::~Speculation() = default;

void Speculation::Build(std::vector<TokenId> tokens) {
  Parts& p = *parts_;
  const auto trace = [&](const char* row, const char* name) {
    Trace* const to = engine_.trace();
    return to == nullptr ? RoundTrace{} : RoundTrace{to, to->AddRow(row), name};
  };
  const auto laws = [&] {
    return RowLaws(engine_.lane(), engine_.config().vocab, sampling_, session_.tokens(), session_.context_tokens());
  };
  const int64_t bottom_most = std::max<int64_t>(1, options_.mode.retrieval ? options_.draft_gamma : options_.gamma);
  if (options_.mode.bottom == Bottom::kDraft) {
    TF_CHECK(engine_.draft() != nullptr, "no draft model");
    p.draft = std::make_unique<DraftVerifier>(*engine_.draft(), laws());
    p.draft->TakeIn(session_.tokens());
    p.draft_proposer = std::make_unique<DraftProposer>(
        *p.draft, chance_, tokens,
        DraftOptions{
            .most = bottom_most, .sequence = sequence_, .number = kBottom, .trace = trace("draft", "draft pass")});
  } else if (options_.mode.bottom == Bottom::kNgram) {
    p.ngram_proposer = std::make_unique<NgramProposer>(tokens, session_.context_tokens() + kMostGamma + 1);
  }
  if (options_.mode.retrieval) {
    session_.EnableRetrieval(options_.retrieval);
    p.retrieval = std::make_unique<RetrievalVerifier>(session_, laws());
    const int64_t gamma = options_.mode.bottom == Bottom::kNone ? 0 : options_.draft_gamma;
    p.middle = std::make_unique<Level>(p.bottom(), *p.retrieval, chance_, tokens,
                                       LevelOptions{.gamma = gamma,
                                                    .most = options_.gamma,
                                                    .sequence = sequence_,
                                                    .number = kMiddle,
                                                    .trace = trace("retrieval", "retrieval pass")});
  }
  p.full = std::make_unique<FullVerifier>(session_, laws());
  p.top = std::make_unique<Level>(p.below_top(), *p.full, chance_, std::move(tokens),
                                  LevelOptions{.gamma = options_.gamma,
                                               .most = options_.gamma + 1,
                                               .sequence = sequence_,
                                               .number = kTop,
                                               .trace = trace("rounds", "verify pass")});
}

std::span<const GivenToken> Speculation::Next(int64_t most) {
  TF_CHECK(most >= 1);
  given_.clear();
  if (std::exchange(first_, false)) {
    given_.push_back({first_token_, TokenOrigin::kPlain});
    return given_;
  }
  most = std::min(most, options_.gamma + 1);
  session_.ReserveTail(most);
  for (const Proposal& proposal : parts_->top->Round(most, ++round_)) {
    given_.push_back({proposal.token, TokenOrigin::kAccepted});
  }
  given_.back().origin = parts_->top->rejected() ? TokenOrigin::kCorrected : TokenOrigin::kBonus;
  return given_;
}

std::vector<ProposerReport> Speculation::Report() const {
  const Parts& p = *parts_;
  std::vector<ProposerReport> reports;
  const auto add_bottom = [&](const Level& above) {
    if (p.draft_proposer != nullptr) {
      reports.push_back({"draft", above.stats(), p.draft_proposer->passes(), p.draft_proposer->pass_ms()});
    } else if (p.ngram_proposer != nullptr) {
      reports.push_back({"ngram", above.stats(), 0, above.stats().propose_ms});
    }
  };
  if (p.middle != nullptr) {
    reports.push_back({"retrieval", p.top->stats(), p.middle->stats().rounds, p.middle->stats().verify_ms});
    if (options_.mode.bottom != Bottom::kNone) add_bottom(*p.middle);
  } else {
    add_bottom(*p.top);
  }
  return reports;
}

}  // namespace triforce
