// A session copied from another one, whose prompt it shares, proposes as if it had prefilled that prompt itself.
#include <doctest/doctest.h>

#include <memory>
#include <vector>

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

}  // namespace
}  // namespace triforce
