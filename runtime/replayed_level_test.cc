// Rounds that stay on the device, where there is no GPU: whole models by CUDA's kernels in the simulator, whose lanes
// capture and replay as a GPU's do.
#include "runtime/replayed_level.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "runtime/device_verifier.h"
#include "runtime/generate.h"
#include "runtime/offload_testing.h"
#include "runtime/speculation.h"

namespace triforce {
namespace {

using OnDevice = SpeculationOptions::OnDevice;

const char* const kOtherTiny = "tests/data/tiny/plain";  // of the same vocabulary

// A layer each is enough, and what the simulator has time for.
EngineOptions SimOptions(const std::string& draft, int64_t context) {
  static const LongModel target(kTiny, /*one_layer=*/true), other(kOtherTiny, /*one_layer=*/true);
  EngineOptions options = Options({.model = kTiny, .prompt = context, .steps = 0, .rows = 0});
  options.model_directory = target.path();
  options.draft_directory = draft == kTiny ? target.path() : other.path();
  options.device = "cuda:0";
  options.plan.cpu_device = false;
  options.plan.options.budget_tokens = 64;
  options.plan.options.chunk_tokens = 8;
  options.plan.options.gamma = 12;
  options.threads = 1;
  return options;
}

SamplingOptions Drawn(uint64_t seed) {
  SamplingOptions sampling;
  sampling.filter = {.temperature = 0.9f, .top_p = 0.95f};
  sampling.seed = seed;
  return sampling;
}

// The levels below the top one, as Speculation has them: by rounds on the device, or by the host.
class Stack {
 public:
  enum Drawer : uint8_t { kBottom = 1, kMiddle, kTop };

  // `decides`: what is proposed to the top level is tested on the device, too.
  Stack(Engine& engine, std::span<const TokenId> prompt, const SamplingOptions& sampling, int64_t draft_gamma,
        OnDevice on_device, bool decides = false)
      : session_(engine.NewSession()), chance_(sampling.seed) {
    const std::vector<TokenId> text(prompt.begin(), prompt.end());
    session_->Append(prompt.first(prompt.size() - 1));
    session_->EnableRetrieval({});
    const auto laws = [&] {
      return RowLaws(engine.lane(), engine.config().vocab, sampling, prompt, session_->context_tokens());
    };
    draft_ = std::make_unique<DraftVerifier>(*engine.draft(), laws());
    draft_->TakeIn(prompt.first(prompt.size() - 1));
    bottom_ = std::make_unique<DraftProposer>(*draft_, chance_, text, DraftOptions{.most = 8, .number = kBottom});
    retrieval_ = std::make_unique<RetrievalVerifier>(*session_, laws());
    middle_ = std::make_unique<Level>(bottom_.get(), *retrieval_, chance_, text,
                                      LevelOptions{.gamma = 8, .most = 72, .number = kMiddle});
    middle_->set_gamma(draft_gamma);
    if (on_device == OnDevice::kNot) return;
    rounds_ = std::make_unique<DeviceRounds>(engine, *session_, draft_.get(),
                                             DeviceRoundsOptions{.sampling = sampling,
                                                                 .proposer = kBottom,
                                                                 .accepter = kMiddle,
                                                                 .captured = on_device == OnDevice::kReplayed,
                                                                 .laws_stay = decides});
    replayed_ = std::make_unique<ReplayedLevel>(rounds_.get(), *session_, *middle_, draft_.get(), bottom_.get());
    full_ = std::make_unique<FullVerifier>(*session_, laws());
    deciding_ = std::make_unique<DeviceVerifier>(*full_, *rounds_);
    Verifier& verifier = decides ? static_cast<Verifier&>(*deciding_) : *full_;
    top_ = std::make_unique<Level>(replayed_.get(), verifier, chance_, text,
                                   LevelOptions{.gamma = 12, .most = 13, .number = kTop});
  }

  // One round of the top level, in which so many rounds of the middle one propose.
  std::vector<TokenId> TopRound(int64_t rounds, uint32_t round) {
    session_->ReserveTail(40);
    replayed_->set_rounds(rounds);
    std::vector<TokenId> tokens;
    for (const Proposal& p : top_->Round(13, round)) tokens.push_back(p.token);
    return tokens;
  }
  const LevelStats& top_stats() const { return top_->stats(); }

  struct Handed {
    std::vector<TokenId> tokens;
    std::vector<double> probabilities;  // of some tokens in each law
    bool operator==(const Handed&) const = default;
  };
  // So many rounds of the level.
  Handed Propose(int64_t rounds, uint32_t round) {
    Handed all;
    const auto take = [&](std::span<const Proposal> proposals) {
      for (const Proposal& p : proposals) {
        all.tokens.push_back(p.token);
        for (int32_t i = 0; i < 320; i += 7) all.probabilities.push_back(p.law.probability(TokenId{i}));
        all.probabilities.push_back(p.law.probability(p.token));
      }
    };
    if (replayed_ != nullptr) {
      replayed_->set_rounds(rounds);
      take(replayed_->Propose(40, round));
    } else {
      for (int64_t i = 0; i < rounds; ++i) take(middle_->Round(middle_->gamma() + 1, round));
    }
    return all;
  }
  // The verifier above takes the first `keep` of what was proposed since, and this token behind them.
  void Accept(int64_t keep, TokenId more) {
    const int64_t before =
        std::ssize(session_->tokens()) + 1;  // of the sequence, which ends with one that is not taken in
    const std::vector<TokenId> text(middle_->tokens().begin(), middle_->tokens().end());
    session_->Verify(std::span(text).subspan(before - 1, keep + 1), 1);
    (replayed_ != nullptr ? static_cast<Proposer&>(*replayed_) : *middle_).Continue(before + keep, {&more, 1});
  }

  const LevelStats& stats() const { return middle_->stats(); }
  int64_t draft_passes() const { return bottom_->passes(); }
  int64_t replayed_calls() const { return replayed_->replayed_calls(); }
  StreamingCache& cache() { return draft_->cache(); }
  Session& session() { return *session_; }
  std::span<const TokenId> tokens() const { return middle_->tokens(); }

 private:
  std::unique_ptr<Session> session_;
  SeededChance chance_;
  std::unique_ptr<DraftVerifier> draft_;
  std::unique_ptr<DraftProposer> bottom_;
  std::unique_ptr<RetrievalVerifier> retrieval_;
  std::unique_ptr<Level> middle_;
  std::unique_ptr<DeviceRounds> rounds_;
  std::unique_ptr<ReplayedLevel> replayed_;
  std::unique_ptr<FullVerifier> full_;
  std::unique_ptr<DeviceVerifier> deciding_;
  std::unique_ptr<Level> top_;
};

TEST_CASE("rounds on the device, replayed or not, hand out the tokens and laws of the level on the host") {
  for (const char* draft : {kTiny, kOtherTiny}) {  // that is accepted often; hardly ever
    CAPTURE(draft);
    Engine engine(SimOptions(draft, 200));
    const std::vector<TokenId> prompt = Tokens(130, 320, 5);
    for (const int64_t draft_gamma : {draft == kTiny ? 2 : 1}) {
      CAPTURE(draft_gamma);
      std::vector<std::vector<Stack::Handed>> runs;
      std::vector<LevelStats> stats;
      for (const OnDevice on_device : {OnDevice::kNot, OnDevice::kQueued, OnDevice::kReplayed}) {
        Stack stack(engine, prompt, Drawn(11), draft_gamma, on_device);
        std::vector<Stack::Handed>& handed = runs.emplace_back();
        for (uint32_t round = 1; round <= 4; ++round) {
          handed.push_back(stack.Propose(3, round));
          const int64_t count = std::ssize(handed.back().tokens);
          // Nothing of it is accepted, all of it, or part of it.
          stack.Accept(round == 1 ? count : round == 2 ? 0 : count / 2, TokenId{static_cast<int32_t>(7 * round)});
        }
        stats.push_back(stack.stats());
        if (on_device != OnDevice::kNot) CHECK(stack.replayed_calls() == 4);
        CHECK(stack.draft_passes() == 4 * 3 * draft_gamma);
      }
      for (int i : {1, 2}) {
        CHECK(runs[i] == runs[0]);
        CHECK(stats[i].rounds == stats[0].rounds);
        CHECK(stats[i].tested_by_position == stats[0].tested_by_position);
        CHECK(stats[i].accepted_by_position == stats[0].accepted_by_position);
      }
      CHECK(stats[0].accepted > (draft == kTiny ? 4 : -1));
      CHECK(stats[0].accepted < stats[0].tested);
    }
  }
}

TEST_CASE("rounds on the device begin where the draft's sinks are full, and not before") {
  Engine engine(SimOptions(kTiny, 200));
  for (const int64_t tokens : {16, 17, 18}) {
    CAPTURE(tokens);
    std::vector<std::vector<Stack::Handed>> runs;
    for (const OnDevice on_device : {OnDevice::kNot, OnDevice::kReplayed}) {
      Stack stack(engine, Tokens(tokens, 320, 5), Drawn(11), 2, on_device);
      std::vector<Stack::Handed>& handed = runs.emplace_back();
      for (uint32_t round = 1; round <= 3; ++round) {
        handed.push_back(stack.Propose(2, round));
        stack.Accept(1, TokenId{static_cast<int32_t>(7 * round)});
      }
      if (on_device == OnDevice::kReplayed) CHECK(stack.replayed_calls() >= 2);
    }
    CHECK(runs[1] == runs[0]);
  }
}

TEST_CASE("rounds on the device leave the caches as the host does, where the draft's window moves, too") {
  Engine engine(SimOptions(kTiny, 560));
  // So far into the text that the draft's window moves, and its cache is compacted between rounds.
  const std::vector<TokenId> prompt = Tokens(485, 320, 9);
  Stack host(engine, prompt, Drawn(3), 2, OnDevice::kNot);
  std::vector<Stack::Handed> expected, found;
  for (uint32_t round = 1; round <= 6; ++round) {
    expected.push_back(host.Propose(2, round));
    host.Accept(round % 3, TokenId{static_cast<int32_t>(5 * round)});
  }
  Engine other(SimOptions(kTiny, 560));
  Stack mixed(other, prompt, Drawn(3), 2, OnDevice::kReplayed);
  for (uint32_t round = 1; round <= 6; ++round) {
    found.push_back(mixed.Propose(2, round));
    mixed.Accept(round % 3, TokenId{static_cast<int32_t>(5 * round)});
  }
  CHECK(found == expected);
  CHECK(mixed.replayed_calls() == 6);
  // What the draft's cache holds now gives the bits of a cache that has seen the text at once.
  const std::vector<TokenId> text(mixed.tokens().begin(), mixed.tokens().end());
  const auto fresh = other.draft()->NewCache();
  const auto logits = [&](std::span<const TokenId> tokens, StreamingCache& cache) {
    const TensorView t = other.draft()->Run(tokens, 1, cache);
    std::vector<float> values(t.elements());
    other.lane().Copy(values.data(), t.data(), t.bytes(), "logits");
    other.lane().Synchronize();
    return values;
  };
  const std::vector<float> a = logits(std::span(text).subspan(mixed.cache().tokens()), mixed.cache());
  const std::vector<float> b = logits(text, *fresh);
  CHECK(std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0);
}

TEST_CASE("what is tested on the device is decided as by the host") {
  Engine engine(SimOptions(kTiny, 200));
  const std::vector<TokenId> prompt = Tokens(110, 320, 6);
  std::vector<std::vector<TokenId>> by_host, on_device;
  Stack host(engine, prompt, Drawn(21), 2, OnDevice::kReplayed);
  for (uint32_t round = 1; round <= 8; ++round) by_host.push_back(host.TopRound(2, round));
  Engine other(SimOptions(kTiny, 200));
  Stack device(other, prompt, Drawn(21), 2, OnDevice::kReplayed, /*decides=*/true);
  for (uint32_t round = 1; round <= 8; ++round) on_device.push_back(device.TopRound(2, round));
  CHECK(on_device == by_host);
  CHECK(device.top_stats().tested_by_position == host.top_stats().tested_by_position);
  CHECK(device.top_stats().accepted_by_position == host.top_stats().accepted_by_position);
  CHECK(host.top_stats().accepted > 0);
  CHECK(host.top_stats().accepted < host.top_stats().tested);
}

Generation Generated(Engine& engine, std::span<const TokenId> prompt, int64_t count, const SamplingOptions& sampling,
                     const SpeculationOptions& speculation) {
  const auto session = engine.NewSession();
  GenerateOptions options{.sampling = sampling, .speculation = speculation, .max_tokens = count};
  const TensorView logits = session->Append(prompt);
  return Generate(*session, engine, logits, options, nullptr, {});
}

TEST_CASE("greedy: whole runs give the tokens of plain decoding, whoever proposes, to the end of the context") {
  constexpr int64_t kPrompt = 70, kTokens = 20;
  SamplingOptions greedy;
  greedy.filter.temperature = 0;
  for (const char* draft : {kTiny, kOtherTiny}) {
    CAPTURE(draft);
    Engine engine(SimOptions(draft, kPrompt + kTokens));
    const std::vector<TokenId> prompt = Tokens(kPrompt, 320, 3);
    const std::vector<TokenId> expected = Generated(engine, prompt, kTokens, greedy, {}).tokens;
    for (const char* mode : {"hierarchy", "retrieval", "draft"}) {
      CAPTURE(mode);
      const SpeculationOptions options{.mode = *ParseSpeculationMode(mode), .gamma = 6, .draft_gamma = 2};
      CHECK(Generated(engine, prompt, kTokens, greedy, options).tokens == expected);
    }
  }
}

TEST_CASE("drawn: drafts that are replayed, and tested on the device, are those of the host") {
  constexpr int64_t kPrompt = 250, kTokens = 30;  // the draft's window moves
  Engine engine(SimOptions(kTiny, kPrompt + kTokens));
  const std::vector<TokenId> prompt = Tokens(kPrompt, 320, 8);
  SpeculationOptions options{.mode = *ParseSpeculationMode("draft"), .gamma = 5};
  std::vector<Generation> runs;
  for (const OnDevice on_device : {OnDevice::kNot, OnDevice::kQueued, OnDevice::kReplayed}) {
    options.on_device = on_device;
    runs.push_back(Generated(engine, prompt, kTokens, Drawn(5), options));
    CHECK(runs.back().tokens == runs[0].tokens);
    CHECK(runs.back().proposers[0].tests.accepted == runs[0].proposers[0].tests.accepted);
    CHECK(runs.back().proposers[0].passes == runs[0].proposers[0].passes);
  }
  CHECK(runs[0].proposers[0].tests.accepted > 0);
  CHECK(runs[0].proposers[0].tests.accepted < runs[0].proposers[0].tests.tested);
}

TEST_CASE("drawn: whole runs, adapting ones too, are the same whether rounds are the host's, queued or replayed") {
  constexpr int64_t kPrompt = 50, kTokens = 24;
  const std::vector<TokenId> prompt = Tokens(kPrompt, 320, 4);
  SpeculationOptions options{.mode = *ParseSpeculationMode("hierarchy"), .gamma = 7, .draft_gamma = 3};
  for (const bool adapts : {false, true}) {
    // Most tokens of the other draft are rejected: what the middle level hands up then ends with one in their place.
    Engine engine(SimOptions(adapts ? kTiny : kOtherTiny, kPrompt + kTokens));
    if (adapts) {
      options.adapts = {
          .plain = true, .retrieval = true, .bottom = true, .below = true, .below_or_not = true, .most_gamma = 12};
    }
    std::vector<Generation> runs;
    for (const OnDevice on_device : {OnDevice::kNot, OnDevice::kQueued, OnDevice::kReplayed}) {
      options.on_device = on_device;
      const Generation& run = runs.emplace_back(Generated(engine, prompt, kTokens, Drawn(1), options));
      CHECK(run.tokens == runs[0].tokens);
      REQUIRE(run.proposers.size() == runs[0].proposers.size());
      for (size_t i = 0; i < run.proposers.size(); ++i) {
        CHECK(run.proposers[i].tests.accepted == runs[0].proposers[i].tests.accepted);
        CHECK(run.proposers[i].passes == runs[0].proposers[i].passes);
      }
    }
    const LevelStats& drafted = runs[0].proposers.at(1).tests;
    if (!adapts) CHECK(drafted.accepted * 2 < drafted.tested);
    CHECK(runs[0].tokens != Generated(engine, prompt, kTokens, Drawn(2), options).tokens);
  }
}

// Other sequences of a batch may need a longer one.
TEST_CASE("drawn: the last rounds are planned by the tokens that are wanted, and not by the context's room") {
  constexpr int64_t kPrompt = 50, kTokens = 10;
  Engine engine(SimOptions(kOtherTiny, kPrompt + kTokens)), longer(SimOptions(kOtherTiny, kPrompt + kTokens + 100));
  const std::vector<TokenId> prompt = Tokens(kPrompt, 320, 4);
  const SpeculationOptions options{.mode = *ParseSpeculationMode("hierarchy"), .gamma = 12, .draft_gamma = 3};
  for (uint64_t seed = 1; seed <= 4; ++seed) {
    CAPTURE(seed);
    CHECK(Generated(longer, prompt, kTokens, Drawn(seed), options).tokens ==
          Generated(engine, prompt, kTokens, Drawn(seed), options).tokens);
  }
}

}  // namespace
}  // namespace triforce
