#include "runtime/device_rounds.h"

#include <algorithm>

#include "kernels/core/check.h"
#include "kernels/core/device.h"
#include "kernels/ops/accept.h"
#include "kernels/ops/categorical.h"
#include "kernels/ops/filtered_softmax.h"
#include "kernels/ops/hand_out.h"
#include "offload/plan_sizes.h"
#include "offload/round_costs.h"

namespace triforce {
namespace {

// Of state_, behind HandOutState: what moves on with each token,
constexpr int64_t kPosition = kMoves;             // of the sequence's last token
constexpr int64_t kVisible = kPosition + 1;       // keys that it sees
constexpr int64_t kDraftPosition = kVisible + 1;  // of the token before it
constexpr int64_t kMoving = kDraftPosition + 1;
// and what does not: the streaming cache's first recent token.
constexpr int64_t kDraftFirst = kMoving;
constexpr int64_t kNumbers = kDraftFirst + 1;

TensorView From(const TensorView& t, int64_t first, int64_t count) { return t.Slice(0, first, first + count); }

}  // namespace

DeviceRounds::DeviceRounds(Engine& engine, Session& session, DraftVerifier* draft, const DeviceRoundsOptions& options)
    : session_(session),
      draft_(draft),
      options_(options),
      vocab_(engine.config().vocab),
      lane_(engine.lane()),
      host_state_(kNumbers),
      host_tokens_(kMostReplayed),
      host_accepted_(kMostReplayed + 2) {
  TF_CHECK(lane_.captures() && !options.sampling.penalises());
  Arena sizes;
  Cut(sizes);
  arena_ = Arena(lane_.device(), sizes.used_bytes(), "rounds on the device");
  Cut(arena_);
  proposals_.reserve(kMostReplayed);
  if (!options.sampling.greedy() && !options.laws_stay) host_laws_.resize(kMostReplayed * vocab_);
}

void DeviceRounds::Cut(Arena& arena) {
  state_ = arena.Cut(DType::kI64, {kNumbers});
  ids_ = arena.Cut(DType::kI32, {2 + kMostDraftGamma});
  proposed_ = arena.Cut(DType::kF32, {kMostDraftGamma, vocab_});
  decided_ = arena.Cut(DType::kI32, {kMostDraftGamma + 2});
  drawn_ = arena.Cut(DType::kI32, {2});
  tokens_ = arena.Cut(DType::kI32, {kMostReplayed});
  law_rows_ = arena.Cut(DType::kF32, {kMostReplayed, vocab_});
  accepted_ = arena.Cut(DType::kI32, {kMostReplayed});
  tested_ = arena.Cut(DType::kI32, {kMostReplayed + 2});
}

void DeviceRounds::Write(const RoundsToRun& run) {
  const int64_t size = std::ssize(run.text);
  std::fill(host_state_.begin(), host_state_.end(), 0);
  host_state_[kProposerCounter] = host_state_[kAccepterCounter] = run.round;
  host_state_[kPosition] = size - 1;
  host_state_[kVisible] = run.ahead.visible;
  host_state_[kDraftPosition] = size - 2;
  if (draft_ != nullptr) host_state_[kDraftFirst] = draft_->cache().first_recent();
  std::copy_n(run.text.end() - 2, 2, host_tokens_.begin());
  lane_.Copy(state_.data(), host_state_.data(), state_.bytes(), "round");
  lane_.Copy(ids_.data(), host_tokens_.data(), From(ids_, 0, 2).bytes(), "token_ids");
}

TensorView DeviceRounds::QueueDraftPass(int64_t first, int64_t end) {
  return draft_->model().RunOnDevice(ids_.Slice(0, first, end), From(state_, kDraftPosition, 2), first,
                                     draft_->cache());
}

void DeviceRounds::QueueDraw(const TensorView& law, int64_t i, const TensorView& counter, const TensorView& out,
                             int32_t lawless) {
  Categorical(lane_, {.probabilities = law,
                      .random_bits = {},
                      .out = out,
                      .seed = options_.sampling.seed,
                      .first = {.sequence = options_.sequence,
                                .round = 0,
                                .level = options_.proposer,
                                .index = static_cast<uint16_t>(i),
                                .purpose = RandomPurpose::kSample},
                      .base = counter,
                      .without = lawless});
}

void DeviceRounds::QueueTest(const TensorView& logits, const TensorView& proposed, const TensorView& tokens,
                             const RandomCounter& first, const TensorView& base, const TensorView& decided) {
  FilteredSoftmax(lane_, {logits, options_.sampling.filter, logits});
  Accept(lane_, {.laws = logits,
                 .proposed = proposed,
                 .tokens = tokens,
                 .seed = options_.sampling.seed,
                 .first = first,
                 .out = decided,
                 .base = base});
}

void DeviceRounds::QueueHandOut(const TensorView& decided, const TensorView& laws) {
  HandOut(lane_, {.decided = decided,
                  .laws = laws,
                  .state = From(state_, 0, kMoving),
                  .last = From(ids_, 0, 2),
                  .tokens = tokens_,
                  .law_rows = options_.sampling.greedy() && !options_.laws_stay ? TensorView() : law_rows_,
                  .accepted = accepted_});
}

void DeviceRounds::QueueTestedRound(const RoundsToRun& run) {
  const int64_t drafts = run.draft_gamma;
  for (int64_t i = 0; i < drafts; ++i) {
    // The first pass takes in the last two tokens, each other one the token that was drawn before it.
    const TensorView law = From(proposed_, i, 1);
    FilteredSoftmax(lane_, {QueueDraftPass(i == 0 ? 0 : i + 1, i + 2), options_.sampling.filter, law});
    // Accept tells where there is no law; until then it is some token.
    QueueDraw(law, i, From(state_, kProposerCounter, 2), From(ids_, i + 2, 1), 0);
  }
  const TensorView laws =
      session_.RetrievalPassOnDevice(From(ids_, 1, drafts + 1), From(state_, kPosition, 2), run.ahead);
  const TensorView decided = From(decided_, 0, drafts + 2);
  QueueTest(laws, From(proposed_, 0, drafts), From(ids_, 2, drafts),
            {.sequence = options_.sequence, .round = 0, .level = options_.accepter, .index = 0},
            From(state_, kAccepterCounter, 2), decided);
  QueueHandOut(decided, laws);
}

void DeviceRounds::QueueDraftedRound() {
  const TensorView law = QueueDraftPass(1, 2);
  FilteredSoftmax(lane_, {law, options_.sampling.filter, law});
  // Of the two counters this is the one that rises by one.
  QueueDraw(law, 0, From(state_, kAccepterCounter, 2), From(drawn_, 1, 1), -1);
  QueueHandOut(drawn_, law);
}

void DeviceRounds::QueueRound(const RoundsToRun& run) { run.retrieval ? QueueTestedRound(run) : QueueDraftedRound(); }

const Graph* DeviceRounds::Find(const Kind& kind) const {
  const auto found = std::ranges::find(captured_, kind, &Captured::kind);
  return found == captured_.end() ? nullptr : found->graph.get();
}

HandedOut DeviceRounds::Run(const RoundsToRun& run) {
  const bool drafts = run.draft_gamma > 0 || !run.retrieval;
  TF_CHECK(run.rounds >= 1 && run.draft_gamma >= 0 && run.draft_gamma <= (run.retrieval ? kMostDraftGamma : 0) &&
               (draft_ != nullptr || !drafts) && run.MostTokens() <= kMostReplayed && run.text.size() >= 2,
           "{} rounds of {} drafts behind {} tokens", run.rounds, run.draft_gamma, run.text.size());
  Write(run);
  int64_t left = run.rounds;
  const Kind kind{.retrieval = run.retrieval,
                  .draft_gamma = run.draft_gamma,
                  .most_blocks = run.ahead.most_blocks,
                  .tail_block = run.ahead.tail_block};
  if (options_.captured && Find(kind) == nullptr) {
    QueueRound(run);  // the first time as it comes: kernels that were never launched are loaded now
    --left;
    // Behind a fold the tail is another one for good.
    std::erase_if(captured_, [&](const Captured& c) {
      return c.kind.retrieval && run.retrieval && c.kind.tail_block != kind.tail_block;
    });
    captured_.push_back({kind, lane_.Capture([&] { QueueRound(run); })});
  }
  const Graph* const graph = Find(kind);
  for (; left > 0; --left) options_.captured ? lane_.Replay(*graph) : QueueRound(run);
  return Read();
}

Decided DeviceRounds::Decide(const TensorView& logits, int64_t proposals, const RandomCounter& first) {
  TF_CHECK(options_.laws_stay && proposals >= 1 && proposals <= host_state_[kHandedOut], "{} proposals", proposals);
  const TensorView tested = From(tested_, 0, proposals + 2);
  QueueTest(logits, From(law_rows_, 0, proposals), From(tokens_, 0, proposals), first, TensorView(), tested);
  std::vector<int32_t>& decided = host_accepted_;  // of a round that is over
  lane_.Copy(decided.data(), tested.data(), tested.bytes(), "decision");
  lane_.Synchronize();
  if (decided[0] < 0) ThrowNotFinite();
  return {.accepted = decided[0], .next = TokenId{decided[decided[0] + 1]}};
}

void DeviceRounds::ReadLaws(int64_t tokens) {
  const TensorView laws = From(law_rows_, 0, tokens);
  lane_.Copy(host_laws_.data(), laws.data(), laws.bytes(), "laws");
  lane_.Synchronize();
  for (int64_t i = 0; i < tokens; ++i) {
    const std::span<const float> law = std::span(host_laws_).subspan(i * vocab_, vocab_);
    if (!Distribution::Valid(law)) ThrowNotFinite();
    proposals_.push_back({host_tokens_[i], Distribution(law)});
  }
}

HandedOut DeviceRounds::Read() {
  lane_.Copy(host_state_.data(), state_.data(), state_.bytes(), "round");
  lane_.Copy(host_tokens_.data(), tokens_.data(), tokens_.bytes(), "tokens");
  lane_.Copy(host_accepted_.data(), accepted_.data(), accepted_.bytes(), "accepted");
  lane_.Synchronize();
  if (host_state_[kLawless] > 0) ThrowNotFinite();
  const auto tokens = std::span<const TokenId>(host_tokens_).first(host_state_[kHandedOut]);
  proposals_.clear();
  if (options_.sampling.greedy() || options_.laws_stay) {
    for (const TokenId token : tokens) proposals_.push_back({token, Distribution::Point(token)});
  } else {
    ReadLaws(std::ssize(tokens));
  }
  return {.tokens = tokens,
          .proposals = proposals_,
          .accepted = std::span<const int32_t>(host_accepted_).first(host_state_[kRounds])};
}

}  // namespace triforce
