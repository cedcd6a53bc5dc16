// What Generate draws at a temperature above 0 has the target's law: through its own options, in every mode, with
// rounds that are fixed and rounds that adapt, alone and in a batch, wherever the text ends. That levels are exact
// whatever the laws is level_test's matter; here it is what is put together of them, and what stands around them.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "models/config.h"
#include "models/tokenizer.h"
#include "offload/speculation_plan.h"
#include "runtime/batch.h"
#include "runtime/device_testing.h"
#include "runtime/generate.h"
#include "runtime/law_testing.h"
#include "runtime/offload_testing.h"
#include "runtime/speculation.h"

namespace triforce {
namespace {

constexpr int64_t kPrompt = 60, kLength = 6, kBudget = 32;
constexpr uint64_t kSeed = 20261201;

// Small: the same ways, and no statistics.
const uint32_t kDraws = SmallTests() ? 12 : 1200;

// The retrieval cache holds half of the prompt; the draft has a law of its own. By the plan a verify pass costs what a
// dozen retrieval passes do, for a long context's KV, so that rounds adapt to acceptance.
EngineOptions LawEngine(int64_t batch = 1, int64_t context = 8192) {
  static const SmallModel target(0), draft(0.25f);
  EngineOptions options = Options({.model = kTiny, .prompt = context, .steps = 0, .rows = 0});
  options.model_directory = target.path();
  options.draft_directory = draft.path();
  options.plan.rates = AssumedCpuRates();
  options.plan.rates.op_us = 0.01;
  options.plan.batch = batch;
  options.plan.options.budget_tokens = kBudget;
  options.plan.options.chunk_tokens = 8;
  options.plan.options.gamma = options.plan.options.most_gamma = 8;
  options.threads = 1;
  return options;
}

SamplingOptions TopK() { return {.filter = {.temperature = 1.1f, .top_k = 4}, .seed = kSeed}; }

// Each filter and each penalty by itself, and all together.
std::vector<std::pair<std::string, SamplingOptions>> Samplings() {
  std::vector<std::pair<std::string, SamplingOptions>> all = {
      {"top-k", TopK()},
      {"top-p", {.filter = {.temperature = 1.1f, .top_p = 0.6f}, .seed = kSeed}},
      {"min-p", {.filter = {.temperature = 1.1f, .min_p = 0.25f}, .seed = kSeed}}};
  const auto penalised = [&](const std::string& name, float repetition, float frequency, float presence) {
    SamplingOptions sampling = TopK();
    sampling.repetition_penalty = repetition;
    sampling.frequency_penalty = frequency;
    sampling.presence_penalty = presence;
    all.emplace_back(name, sampling);
  };
  penalised("repetition penalty", 1.6f, 0, 0);
  penalised("frequency penalty", 1, 1.2f, 0);
  penalised("presence penalty", 1, 0, 1.5f);
  penalised("all", 1.3f, 0.5f, 0.5f);
  all.back().second.filter = {.temperature = 0.9f, .top_k = 6, .top_p = 0.9f, .min_p = 0.05f};
  return all;
}

// The model's own text, three times over, so that lookups find long matches.
Text OwnText(Engine& engine) {
  const auto session = engine.NewSession();
  const GenerateOptions options{.sampling = TopK(), .max_tokens = kPrompt / 3};
  const Text beginning = {TokenId{3}};
  const TensorView logits = session->Append(beginning);
  const Text part = Generate(*session, engine, logits, options, nullptr, {}).tokens;
  Text text;
  for (int i = 0; i < 3; ++i) text.insert(text.end(), part.begin(), part.end());
  return text;
}

TextTask Task(Engine& engine, const SamplingOptions& sampling) {
  return {.prompt = OwnText(engine), .sampling = sampling, .length = kLength};
}

SpeculationOptions Fixed(const std::string& mode, int64_t gamma = 3, int64_t draft_gamma = 2) {
  return {.mode = *ParseSpeculationMode(mode), .gamma = gamma, .draft_gamma = draft_gamma};
}

// Rounds that adapt. Which ways they may go, and what is assumed of proposals at first, differs from text to text, so
// that rounds do, too.
SpeculationOptions Adapting(const std::string& mode, uint32_t text) {
  SpeculationOptions options{.mode = *ParseSpeculationMode(mode)};
  const bool retrieval = options.mode.retrieval, bottom = options.mode.bottom != Bottom::kNone;
  const uint32_t ways = text % 5;
  options.adapts = {.plain = ways == 0,
                    .retrieval = retrieval && ways != 1,
                    .bottom = bottom && (!retrieval || ways != 2),
                    .below = retrieval && bottom && ways != 1,
                    .below_or_not = ways % 2 == 0,
                    .most_gamma = 5};
  if (retrieval && !bottom) options.adapts->retrieval = true;
  const double rate = 0.35 + 0.05 * (text % 13);
  options.assumed = {.draft = rate, .ngram = rate, .retrieval = rate + 0.05 * (text % 3)};
  return options;
}

using OptionsOf = std::function<SpeculationOptions(uint32_t text)>;

struct Drawn {
  std::map<Text, int64_t> counts;
  std::vector<ProposerReport> reports;

  void Add(const Generation& generation, int64_t length) {
    Text text = generation.tokens;
    REQUIRE(std::ssize(text) <= length);
    text.resize(length, kNoToken);
    ++counts[text];
    AddReports(reports, generation.proposers);
  }
};

// `to_the_end`: of the context, instead of so many tokens.
GenerateOptions OptionsFor(const TextTask& task, const SpeculationOptions& speculation, uint32_t text,
                           bool to_the_end = false) {
  GenerateOptions options{.sampling = task.sampling,
                          .speculation = speculation,
                          .max_tokens = to_the_end ? -1 : task.length,
                          .sequence = text};
  if (task.end_of_sequence != kNoToken) options.end_of_sequence = {task.end_of_sequence};
  if (!task.stop_string.empty()) options.stop_strings = {task.stop_string};
  return options;
}

Drawn Draw(Engine& engine, const TextTask& task, const OptionsOf& options_of, uint32_t draws = kDraws,
           const Tokenizer* tokenizer = nullptr) {
  const auto session = engine.NewSession();
  session->Append(task.prompt);
  Drawn drawn;
  for (uint32_t text = 0; text < draws; ++text) {
    const TensorView logits = session->AppendLastAgain(std::ssize(task.prompt));
    const bool to_the_end = std::ssize(task.prompt) + task.length == session->context_tokens();
    const GenerateOptions options = OptionsFor(task, options_of(text), text, to_the_end);
    drawn.Add(Generate(*session, engine, logits, options, tokenizer, {}), task.length);
  }
  return drawn;
}

void CheckLaw(const TextLaw& law, const Drawn& drawn, const std::string& what) {
  const Fit fit = Compare(law, drawn.counts);
  std::string report;
  for (const ProposerReport& r : drawn.reports) {
    report += "; " + r.name + " to " + r.verifier + ": " + std::to_string(r.tests.rounds) + " rounds, accepted " +
              std::to_string(r.tests.accepted) + " of " + std::to_string(r.tests.tested);
    if (r.lookup) report += ", " + std::to_string(r.lookup->lookups) + " lookups";
  }
  MESSAGE(what, ", seed ", kSeed, ": p = ", fit.p, ", ", law.size(), " texts", report);
  CHECK(fit.impossible == 0);
  CHECK(fit.p > 1e-3);
}

TEST_CASE("plain decoding draws the law, with every filter and penalty") {
  Engine engine(LawEngine());
  for (const auto& [name, sampling] : Samplings()) {
    const TextTask task = Task(engine, sampling);
    CheckLaw(LawOfTexts(engine, task), Draw(engine, task, [](uint32_t) { return SpeculationOptions{}; }), name);
  }
}

TEST_CASE("hierarchy: the law, with every filter and penalty") {
  Engine engine(LawEngine());
  for (const auto& [name, sampling] : Samplings()) {
    const TextTask task = Task(engine, sampling);
    const TextLaw law = LawOfTexts(engine, task);
    CheckLaw(law, Draw(engine, task, [](uint32_t) { return Fixed("hierarchy"); }), name);
    CheckLaw(law, Draw(engine, task, [](uint32_t text) { return Adapting("hierarchy", text); }), name + ", adapting");
  }
}

TEST_CASE("every mode draws the law, with rounds that are fixed and rounds that adapt") {
  Engine engine(LawEngine());
  const TextTask task = Task(engine, TopK());
  const TextLaw law = LawOfTexts(engine, task);
  for (const std::string_view name : SpeculationModeNames()) {
    const std::string mode(name);
    if (mode == "none" || mode == "hierarchy") continue;  // above
    CheckLaw(law, Draw(engine, task, [&](uint32_t) { return Fixed(mode); }), mode);
    CheckLaw(law, Draw(engine, task, [&](uint32_t text) { return Adapting(mode, text); }), mode + ", adapting");
  }
}

TEST_CASE("what the plan chooses draws the law, where KV streams") {
  constexpr int64_t kLongPrompt = 600;
  EngineOptions options = LawEngine(1, kLongPrompt + 32);
  options.plan.rates.link_to_device_gbps = 0.01;  // as the plan has it: proposals pay
  options.plan.options.resident_kv_bytes = 0;
  const SpeculationChoices choices{.budget_tokens = kBudget};
  const PlanInput input = CompletePlanInput(options);
  const SpeculationPlan found = PlanSpeculation(input, choices);
  REQUIRE_FALSE(found.shape.none());
  options.plan.options = InputFor(input, found.shape, choices).options;
  if (!found.shape.drafts()) options.draft_directory.clear();
  Engine engine(options);
  REQUIRE(engine.plan().streams_kv());
  const TextTask task{.prompt = Tokens(kLongPrompt, SmallModel::kVocab), .sampling = TopK(), .length = kLength - 1};
  const SpeculationOptions planned{.mode = found.shape,
                                   .gamma = found.round.gamma,
                                   .draft_gamma = found.round.draft_gamma,
                                   .adapts = found.rounds,
                                   .retrieval = {.reselect_tokens = found.reselect_tokens}};
  CheckLaw(LawOfTexts(engine, task),
           Draw(
               engine, task, [&](uint32_t) { return planned; }, kDraws / 2),
           "auto: " + Name(found.shape));
}

// The likeliest tokens at places [first, first + width) of those that read as one byte each.
Text LikeliestAt(const TextLaw& law, int64_t first, int64_t width, const std::vector<std::string>& pieces) {
  std::map<Text, double> sums;
  for (const auto& [text, probability] : law) {
    const Text part(text.begin() + first, text.begin() + first + width);
    if (std::all_of(part.begin(), part.end(), [&](TokenId token) { return pieces[ToInt(token)].size() == 1; })) {
      sums[part] += probability;
    }
  }
  return std::max_element(sums.begin(), sums.end(), [](auto& a, auto& b) { return a.second < b.second; })->first;
}

TEST_CASE("texts that end inside a round have the law of such texts: a token, a stop string, a full context") {
  Engine engine(LawEngine());
  const Tokenizer tokenizer("models/demo/target", ReadModelConfig("models/demo/target"));
  std::vector<std::string> pieces;
  for (int32_t i = 0; i < SmallModel::kVocab; ++i) pieces.push_back(tokenizer.PieceOf(TokenId{i}).text);
  const TextTask whole = Task(engine, TopK());
  const TextLaw whole_law = LawOfTexts(engine, whole);
  const auto check = [&](Engine& on, const TextTask& task, const std::string& what, const Tokenizer* reads) {
    const TextLaw law = LawOfTexts(on, task);
    CheckLaw(law,
             Draw(
                 on, task, [](uint32_t) { return Fixed("hierarchy", 4, 1); }, kDraws, reads),
             what);
    CheckLaw(law,
             Draw(
                 on, task, [](uint32_t text) { return Adapting("hierarchy", text); }, kDraws, reads),
             what + ", adapting");
  };
  TextTask task = whole;
  task.end_of_sequence = LikeliestAt(whole_law, 2, 1, pieces)[0];
  check(engine, task, "end of sequence", nullptr);
  task = whole;
  task.pieces = pieces;
  for (const TokenId token : LikeliestAt(whole_law, 2, 2, pieces)) task.stop_string += pieces[ToInt(token)];
  check(engine, task, "stop string", &tokenizer);
  Engine full(LawEngine(1, kPrompt + kLength));
  check(full, whole, "context", nullptr);
}

TEST_CASE("side by side, each text has its law") {
  Engine engine(LawEngine(4));
  const std::vector<std::pair<std::string, SamplingOptions>> samplings = Samplings();
  const TextTask tasks[] = {Task(engine, samplings.front().second), Task(engine, samplings.back().second)};
  std::vector<BatchJob> jobs;
  for (uint32_t text = 0; text < 2 * kDraws; ++text) {
    const SpeculationOptions speculation = text % 2 == 0 ? Adapting("hierarchy", text / 2) : Fixed("ngram+hierarchy");
    const TextTask& task = tasks[text % 2];
    jobs.push_back({.prompt = task.prompt, .options = OptionsFor(task, speculation, text), .take = {}});
  }
  const std::vector<BatchOutput> outputs = GenerateBatch(engine, jobs, {});
  Drawn drawn[2];
  for (uint32_t text = 0; text < 2 * kDraws; ++text) drawn[text % 2].Add(outputs[text].generation, kLength);
  for (int i : {0, 1}) CheckLaw(LawOfTexts(engine, tasks[i]), drawn[i], "batch");
}

TEST_CASE("proposers with the target's own law are never rejected, with every filter and penalty") {
  constexpr int64_t kTokens = 30;
  EngineOptions options = LawEngine();
  options.draft_directory = options.model_directory;
  options.plan.options.budget_tokens = 128;  // more than there is
  Engine engine(options);
  for (const auto& [name, sampling] : Samplings()) {
    TextTask task = Task(engine, sampling);
    task.length = kTokens;
    for (const char* mode : {"draft", "retrieval", "hierarchy"}) {
      CAPTURE(name);
      CAPTURE(mode);
      const Drawn drawn = Draw(
          engine, task, [&](uint32_t) { return Fixed(mode, 5); }, 3);
      for (const ProposerReport& report : drawn.reports) {
        CHECK(report.tests.tested > 0);
        CHECK(report.tests.accepted == report.tests.tested);
      }
    }
  }
}

// Over a long text rounds adapt to what has happened. Too many texts are possible to count each; but where tokens of
// the draft are taken too often, or too seldom, the text leans to its law, or from it.
TEST_CASE("long texts by rounds that adapt: each token has its law behind those before it") {
  constexpr int64_t kTokens = 64;
  Engine engine(LawEngine(2));
  EngineOptions of_draft = LawEngine();
  of_draft.model_directory = std::exchange(of_draft.draft_directory, "");
  Engine draft(of_draft);
  for (const char* mode : {"draft", "hierarchy"}) {
    for (const auto& sampling : {Samplings().front().second, Samplings().back().second}) {
      TextTask task = Task(engine, sampling);
      task.length = kTokens;
      const Drawn drawn = Draw(
          engine, task, [&](uint32_t text) { return Adapting(mode, text); }, kDraws / 6);
      LawsAlong targets(engine, task), drafts(draft, task);
      Straying likeliest, drafted, even;
      for (const auto& [text, count] : drawn.counts) {
        const std::vector<std::vector<double>> laws = targets.Of(text), proposed = drafts.Of(text);
        for (size_t at = 0; at < text.size(); ++at) {
          const std::vector<double>& law = laws[at];
          REQUIRE(law[ToInt(text[at])] > 0);
          std::vector<double> is_most(law.size()), more(law.size()), is_even(law.size());
          is_most[std::max_element(law.begin(), law.end()) - law.begin()] = 1;
          for (size_t i = 0; i < law.size(); ++i) {
            more[i] = law[i] > 0 ? proposed[at][i] / law[i] : 0;
            is_even[i] = i % 2 == 0;
          }
          likeliest.Add(law, text[at], is_most);
          drafted.Add(law, text[at], more);
          even.Add(law, text[at], is_even);
        }
      }
      MESSAGE(std::string(mode), ", ", drawn.counts.size(), " texts of ", kTokens, " tokens, seed ", kSeed,
              "; deviations ", likeliest.deviations(), " ", drafted.deviations(), " ", even.deviations());
      for (const Straying* straying : {&likeliest, &drafted, &even}) CHECK(std::abs(straying->deviations()) < 4);
    }
  }
}

}  // namespace
}  // namespace triforce
