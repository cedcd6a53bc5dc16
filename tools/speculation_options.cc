#include "tools/speculation_options.h"

#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>
#include <map>
#include <vector>

#include "kernels/core/error.h"
#include "kernels/ops/kv_view.h"
#include "offload/reproducible_plan.h"
#include "tools/number_flags.h"

namespace triforce {
namespace {

// -1: no such thing.
int64_t ReselectTokens(const std::string& text) {
  if (text == "every") return 1;
  if (text == "never") return 0;
  int64_t tokens = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), tokens);
  return error == std::errc() && end == text.data() + text.size() ? tokens : -1;
}

Middle MiddleOf(const std::string& name) {
  if (name == "streaming") return Middle::kStreaming;
  if (name == "h2o") return Middle::kHeavyHitters;
  if (name == "oracle") return Middle::kOracle;
  return Middle::kRetrieval;
}

std::string CheckReselect(const std::string& text) {
  if (text == "auto" || text == "never" || ReselectTokens(text) > 0) return "";
  return fmt::format("found \"{}\", expected auto, every, never or a number of tokens", text);
}

// What the flags say, but for the budget; and to `input`, what does not depend on what is chosen.
SpeculationChoices ChoicesOf(const SpeculationFlags& flags, PlanInput& input) {
  const std::optional<SpeculationMode> mode = ParseSpeculationMode(flags.mode);  // none: "auto"
  if (mode && mode->drafts() && !flags.has_draft()) {
    throw Error(ErrorKind::kUsage, "--spec " + flags.mode, "needs a draft model", "Give one with --draft-model.");
  }
  if (flags.has_draft() && (!mode || mode->drafts())) {
    input.draft = DraftInput{.shape = ReadModelShape(DraftOf(flags))};
  }
  input.options.pipeline = flags.pipeline;
  input.options.weighs_chunks = flags.middle == "h2o" || flags.middle == "oracle";
  SpeculationChoices choices{.shape = mode,
                             .gamma = flags.gamma,
                             .draft_gamma = flags.draft_gamma,
                             .reselect_tokens = {},
                             .budget_tokens = 0,
                             .acceptance = {}};
  if (flags.reselect != "auto") choices.reselect_tokens = ReselectTokens(flags.reselect);
  return choices;
}

SpeculationOptions OptionsOf(const SpeculationFlags& flags, const SpeculationPlan& found) {
  return {.mode = found.shape,
          .gamma = found.round.gamma,
          .draft_gamma = found.round.draft_gamma,
          .adapts = found.rounds,
          .assumed = AcceptanceRates(),
          .costs = {},
          .retrieval = {.on = found.shape.retrieval,
                        .middle = MiddleOf(flags.middle),
                        .reselect_tokens = found.reselect_tokens},
          .on_device = flags.graphs ? SpeculationOptions::OnDevice::kReplayed : SpeculationOptions::OnDevice::kNot};
}

ChosenSpeculation ChooseByPlan(const SpeculationFlags& flags, PlanInput& input) {
  const int64_t prompt = input.context_tokens - input.predict_tokens;
  SpeculationChoices choices = ChoicesOf(flags, input);
  choices.budget_tokens = BudgetTokens(flags, prompt);
  input.options.chunk_tokens = ChunkTokens(flags, prompt);
  input.rules.budget_by_prompt = !flags.budget;
  input.rules.chunk_by_budget = !flags.budget && !flags.chunk_size;
  const SpeculationPlan found = PlanSpeculation(input, choices);
  input = InputFor(input, found.shape, choices);
  input.options.gamma = found.round.gamma;
  input.options.draft_gamma = found.round.draft_gamma;
  input.options.weighs_chunks = input.options.weighs_chunks && found.shape.retrieval;
  input.options.looks_at_all_keys = flags.middle == "oracle" && found.shape.retrieval;
  return {OptionsOf(flags, found), found.round.ms_per_token};
}

// What a token by such a round is expected to take where passes cost so much.
double ExpectedMs(const SpeculationOptions& options, const Round& round, PassCosts costs) {
  const bool proposes = round.gamma > 0;
  const RoundChoices alone{.plain = !proposes,
                           .retrieval = round.retrieval,
                           .bottom = proposes && !round.retrieval,
                           .below = round.draft_gamma > 0,
                           .gamma = round.gamma,
                           .draft_gamma = round.draft_gamma};
  costs.reselect_tokens = options.retrieval.reselect_tokens;
  return CheapestRound(alone, costs, AssumedAcceptance(options.mode, options.assumed)).ms_per_token;
}

// One plan for all that was chosen; where that does not fit, an error, and not another choice.
Plan PlanFor(const std::vector<ChosenSpeculation>& chosen, const SpeculationChoices& choices, PlanInput& input) {
  SpeculationShape shape;
  SpeculationChoices most = choices;
  int64_t gamma = 0, draft_gamma = 0;
  most.budget_tokens = 0;
  for (const ChosenSpeculation& one : chosen) {
    const SpeculationOptions& o = one.options;
    shape.retrieval = shape.retrieval || o.mode.retrieval;
    if (!shape.drafts() && o.mode.bottom != Bottom::kNone) shape.bottom = o.mode.bottom;
    if (o.mode.retrieval) most.budget_tokens = std::max(most.budget_tokens, o.retrieval.budget_tokens);
    gamma = std::max(gamma, o.gamma);
    draft_gamma = std::max(draft_gamma, o.draft_gamma);
  }
  input = InputFor(input, shape, most);
  input.options.gamma = gamma;
  input.options.draft_gamma = draft_gamma;
  input.options.weighs_chunks = input.options.weighs_chunks && shape.retrieval;
  try {
    return MakePlan(input);
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::kOutOfMemory) throw;
    throw error.Within(
        fmt::format("--reproducible keeps {}{}, which does not fit", Name(shape),
                    shape.retrieval ? fmt::format(" with a budget of {} tokens", most.budget_tokens) : ""),
        "Or choose what needs less, with --spec or --budget: the text is then another one, everywhere.");
  }
}

// Text, flags and model decide, and nothing else (offload/reproducible_plan.h).
std::vector<ChosenSpeculation> ChooseReproducibly(const SpeculationFlags& flags, PlanInput& input,
                                                  std::span<const int64_t> prompt_tokens) {
  SpeculationChoices choices = ChoicesOf(flags, input);
  if (flags.middle == "h2o") {
    throw Error(ErrorKind::kUsage, "--middle h2o", "goes on counting from one sample of a prompt to the next",
                "It does not go with --reproducible.");
  }
  if (choices.reselect_tokens &&
      (*choices.reselect_tokens == 0 || *choices.reselect_tokens > kMostReproducibleReselect)) {
    throw Error(ErrorKind::kUsage, "--reselect " + flags.reselect,
                "lets chunks be chosen anew when memory asks for it, which --reproducible rules out",
                fmt::format("Give every, auto or a number of tokens up to {}.", kMostReproducibleReselect));
  }
  input.options.chunk_tokens = ChunkTokens(flags, 0);
  input.rules.budget_by_prompt = !flags.budget;
  input.rules.least_budget_tokens = ReproducibleBudget(0, input.options.chunk_tokens);
  struct Found {
    ChosenSpeculation speculation;
    Round round;
  };
  std::map<int64_t, Found> by_length;
  std::vector<ChosenSpeculation> chosen;
  for (const int64_t tokens : prompt_tokens) {
    const auto [at, is_new] = by_length.try_emplace(tokens);
    if (is_new) {
      choices.budget_tokens = BudgetTokens(flags, tokens);
      const ReproduciblePlan found = PlanReproducibly({.shape = input.shape,
                                                       .draft = input.draft,
                                                       .kv_type = input.kv_type,
                                                       .prompt_tokens = tokens,
                                                       .chunk_tokens = input.options.chunk_tokens},
                                                      choices);
      at->second.round = found.speculation.round;
      SpeculationOptions& options = at->second.speculation.options = OptionsOf(flags, found.speculation);
      options.costs = found.costs;
      options.retrieval.budget_tokens = choices.budget_tokens;
      options.retrieval.by_text_alone = true;
      options.begins_with_pass = true;
    }
    chosen.push_back(at->second.speculation);
  }
  input.options.looks_at_all_keys = flags.middle == "oracle" && std::ranges::any_of(chosen, [](const auto& one) {
                                      return one.options.mode.retrieval;
                                    });
  const PassCosts costs = CostsOf(PlanFor(chosen, choices, input));
  for (size_t i = 0; i < chosen.size(); ++i) {
    chosen[i].ms_per_token = ExpectedMs(chosen[i].options, by_length.at(prompt_tokens[i]).round, costs);
  }
  return chosen;
}

}  // namespace

int64_t BudgetTokens(const SpeculationFlags& flags, int64_t prompt_tokens) {
  if (flags.reproducible) {
    return flags.budget.value_or(ReproducibleBudget(prompt_tokens, ChunkTokens(flags, prompt_tokens)));
  }
  // A size that no chunk may have is the plan's to refuse.
  const int64_t chunk = std::clamp(flags.chunk_size.value_or(kKeyTile), kKeyTile, kKvBlock);
  return flags.budget.value_or(DefaultBudgetTokens(prompt_tokens, chunk));
}

int64_t ChunkTokens(const SpeculationFlags& flags, int64_t prompt_tokens) {
  if (flags.reproducible) return flags.chunk_size.value_or(kReproducibleChunkTokens);
  return flags.chunk_size.value_or(ChunkTokensFor(BudgetTokens(flags, prompt_tokens)));
}

void AddSpeculationFlags(CLI::App& app, SpeculationFlags& f) {
  std::vector<std::string> modes = {"auto"};
  for (const std::string_view name : SpeculationModeNames()) modes.emplace_back(name);
  app.add_option("--spec", f.mode, "how tokens are proposed; auto: as the plan expects to be fastest")
      ->check(CLI::IsMember(modes))
      ->capture_default_str();
  app.add_option("-M,--draft-model,--md", f.draft_model, "model directory of a draft with the same vocabulary")
      ->type_name("DIR");
  app.add_option("--draft-shape", f.draft_shape, "a known shape for the draft, where the model is one, too")
      ->check(CLI::IsMember(std::vector<std::string>(ShapeNames().begin(), ShapeNames().end())));
  app.add_option("--gamma", f.gamma, "tokens proposed for each verify pass; default: adapts to what is accepted")
      ->transform(WholeNumber(1, kMostGamma));
  app.add_option("--draft-gamma", f.draft_gamma, "tokens drafted for each retrieval pass; default: adapts")
      ->transform(WholeNumber(0, kMostGamma));
  app.add_option("--budget", f.budget, "tokens of the retrieval cache; default: a tenth of the prompt")
      ->transform(TokenCount(1));
  app.add_option("--chunk-size", f.chunk_size,
                 "tokens of a chunk, by which KV is ranked and retrieved; default: 32, or 16 or 8 for small budgets")
      ->transform(TokenCount(1));
  app.add_option("--middle", f.middle, "what the middle cache holds: retrieval; for comparison streaming, h2o, oracle")
      ->check(CLI::IsMember({"retrieval", "streaming", "h2o", "oracle"}))
      ->capture_default_str();
  app.add_option("--reselect", f.reselect,
                 "when its chunks are chosen anew: every (round), never, or behind N tokens; auto: as it pays")
      ->type_name("auto|every|N|never")
      ->check(CheckReselect, "")
      ->capture_default_str();
  app.add_flag("--pipeline,!--no-pipeline", f.pipeline,
               "stream for the next verify pass while tokens are proposed for it; on, if not said otherwise");
  app.add_flag("--graphs,!--no-graphs", f.graphs,
               "replay drafts and retrieval passes on a GPU without the host; on, if not said otherwise");
  app.add_flag("--reproducible", f.reproducible,
               "fix mode, budget and costs by model, prompt and flags, so that a drawn text repeats with its seed "
               "whatever the memory limits, the rates and the rest of a batch; by default only greedy text does");
}

ModelSource DraftOf(const SpeculationFlags& flags) { return {flags.draft_model, flags.draft_shape}; }

void CheckDraft(const SpeculationFlags& flags, bool random_weights) {
  if (flags.draft_shape.empty()) return;
  if (!flags.draft_model.empty()) {
    throw Error(ErrorKind::kUsage, "--draft-shape", "contradicts --draft-model", "Give one of them.");
  }
  if (!random_weights) {
    throw Error(
        ErrorKind::kUsage, "--draft-shape", "has no weights",
        "A draft with random weights goes with --shape and --random-weights; else give one with --draft-model.");
  }
}

std::vector<ChosenSpeculation> ChooseSpeculations(const SpeculationFlags& flags, PlanInput& input,
                                                  std::span<const int64_t> prompt_tokens) {
  if (!flags.reproducible) return std::vector<ChosenSpeculation>(prompt_tokens.size(), ChooseByPlan(flags, input));
  return ChooseReproducibly(flags, input, prompt_tokens);
}

ChosenSpeculation ChooseSpeculation(const SpeculationFlags& flags, PlanInput& input) {
  const int64_t prompt = input.context_tokens - input.predict_tokens;
  return flags.reproducible ? ChooseReproducibly(flags, input, {&prompt, 1}).at(0) : ChooseByPlan(flags, input);
}

std::string Describe(const ChosenSpeculation& chosen, const Plan& plan) {
  const SpeculationOptions& o = chosen.options;
  std::string text = Name(o.mode);
  const bool adapts = o.adapts && !(o.adapts->gamma && (o.adapts->draft_gamma || !o.adapts->below));
  if (!o.mode.none()) text += fmt::format(", gamma {}", o.gamma);
  if (o.draft_gamma > 0) text += fmt::format(", draft gamma {}", o.draft_gamma);
  if (!o.mode.none() && adapts) text += " to begin with";
  const int64_t own = o.retrieval.budget_tokens;
  if (o.mode.retrieval) text += fmt::format(", budget {}", own > 0 ? own : plan.input.options.budget_tokens);
  if (o.costs) text += ", reproducible";
  return text + fmt::format("; {:.2f} ms per token expected", chosen.ms_per_token);
}

}  // namespace triforce
