// A session that was copied from another one, or went back, proposes as if it had come to where it stands by itself.
#include <doctest/doctest.h>

#include <memory>
#include <vector>

#include "runtime/device_testing.h"
#include "runtime/engine.h"
#include "runtime/generate.h"
#include "runtime/offload_testing.h"
#include "runtime/speculation.h"

namespace triforce {
namespace {

constexpr int64_t kPrompt = 1300, kTokens = 40, kBudget = 128;

EngineOptions DemoOptions(bool streams) {
  EngineOptions options = Options({.model = kDemo, .prompt = kPrompt, .steps = kTokens, .rows = 0});
  options.plan.options.budget_tokens = kBudget;
  options.plan.options.weighs_chunks = true;
  options.plan.options.gamma = 6;
  if (streams) options.plan.options = With(options.plan.options, std::nullopt, 0);
  return options;
}

// Goes on behind a prompt, of which the session has all tokens.
Generation GoOn(Engine& engine, Session& session, std::span<const TokenId> prompt, Middle middle) {
  GenerateOptions options{.speculation = {.mode = *ParseSpeculationMode("retrieval"),
                                          .gamma = 6,
                                          .retrieval = {.on = true, .middle = middle}},
                          .max_tokens = kTokens};
  options.sampling.filter = {.temperature = 0.8f, .top_p = 0.95f};
  options.sampling.seed = 3;
  const TensorView logits = session.AppendLastAgain(std::ssize(prompt));
  return Generate(session, engine, logits, options, nullptr, {});
}

void CheckAlike(const Generation& a, const Generation& b) {
  CHECK(a.tokens == b.tokens);
  CHECK(a.proposers[0].tests.accepted_by_position == b.proposers[0].tests.accepted_by_position);
}

TEST_CASE("a copied session retrieves as one that was prefilled, as often as it is copied") {
  const std::vector<TokenId> prompt = Tokens(kPrompt, DemoVocab(), 5);
  EngineOptions source_options = DemoOptions(/*streams=*/false);
  source_options.plan.options.budget_tokens = 3 * kBudget;  // its last chunks' places are more than are copied
  Engine source(source_options);
  const auto original = source.NewSession();
  original->Append(prompt);
  for (const bool streams : {false, true}) {
    Engine prefilled(DemoOptions(streams)), copying(DemoOptions(streams));
    for (const Middle middle : {Middle::kRetrieval, Middle::kStreaming, Middle::kHeavyHitters}) {
      CAPTURE(streams);
      CAPTURE(static_cast<int>(middle));
      const auto session = prefilled.NewSession();
      session->Append(prompt);
      const Generation expected = GoOn(prefilled, *session, prompt, middle);
      const auto copy = copying.NewSession();
      for (int turn = 0; turn < 2; ++turn) {
        copy->CopyFrom(*original);
        CheckAlike(GoOn(copying, *copy, prompt, middle), expected);
      }
    }
  }
}

TEST_CASE("chunks fetched for another text are not taken for this one's") {
  const std::vector<TokenId> prompt = Tokens(kPrompt, DemoVocab(), 5), other = Tokens(kPrompt, DemoVocab(), 6);
  const auto go_on = [](Engine& engine, std::span<const TokenId> text) {
    const auto session = engine.NewSession();
    session->Append(text);
    return GoOn(engine, *session, text, Middle::kRetrieval);
  };
  Engine fresh(DemoOptions(/*streams=*/true)), used(DemoOptions(/*streams=*/true));
  go_on(used, other);
  CheckAlike(go_on(used, prompt), go_on(fresh, prompt));
}

// Two sessions of a tiny model, behind one prompt, of whose KV the retrieval cache has a sixth.
struct TwoSessions {
  static constexpr int64_t kTokens = 300;

  explicit TwoSessions(Middle middle)
      : engine([] {
          EngineOptions options = Options({.model = kTiny, .prompt = kTokens, .steps = 120, .rows = 0});
          options.plan.batch = 2;
          options.plan.options.budget_tokens = 48;
          options.plan.options.weighs_chunks = true;
          options.threads = 1;
          return options;
        }()),
        one(engine.NewSession()),
        other(engine.NewSession()) {
    for (Session* session : {one.get(), other.get()}) {
      session->Append(std::span(text).first(kTokens));
      session->EnableRetrieval({.middle = middle});
    }
  }

  // What a retrieval pass behind all tokens gives, and no trace of it.
  std::vector<float> Retrieved(Session& session) {
    const int64_t before = session.retrieval_tokens();
    std::vector<float> logits = ReadFloats(engine.lane(), session.RetrievalPass(std::span(others).last(3), 3));
    session.RewindRetrieval(before);
    return logits;
  }

  const std::vector<TokenId> text = Tokens(kTokens + 120, 320), others = Tokens(200, 320, 99);
  Engine engine;
  std::unique_ptr<Session> one, other;
};

TEST_CASE("heavy hitters: rows that are rejected weigh nothing") {
  TwoSessions two(Middle::kHeavyHitters);
  for (int64_t at = two.kTokens, round = 0; round < 12; ++round) {
    CAPTURE(round);
    const int64_t accepted = 1 + round % 3;
    const auto next = std::span(two.text).subspan(at, accepted);
    std::vector<TokenId> rows(next.begin(), next.end());
    rows.insert(rows.end(), two.others.begin() + 9 * round, two.others.begin() + 9 * round + 4);
    two.one->Verify(rows, std::ssize(rows));
    two.one->Rewind(at += accepted);
    two.other->Verify(next, accepted);
    CHECK(two.Retrieved(*two.one) == two.Retrieved(*two.other));
  }
}

TEST_CASE("retrieval: where chunks were taken back, those that come instead are judged by their own keys") {
  TwoSessions two(Middle::kRetrieval);
  const auto go_on = [&](Session& session, std::span<const TokenId> tokens) {
    for (size_t i = 0; i < tokens.size(); i += 10) session.Verify(tokens.subspan(i, 10), 1);
  };
  for (int turn = 0; turn < 3; ++turn) {
    CAPTURE(turn);
    go_on(*two.one, std::span(two.others).subspan(60 * turn, 60));
    two.Retrieved(*two.one);  // chooses, by means of the chunks that go again
    two.one->Rewind(two.kTokens + 30 * turn);
    for (Session* session : {two.one.get(), two.other.get()}) {
      go_on(*session, std::span(two.text).subspan(two.kTokens + 30 * turn, 30));
    }
    CHECK(two.Retrieved(*two.one) == two.Retrieved(*two.other));
  }
}

}  // namespace
}  // namespace triforce
