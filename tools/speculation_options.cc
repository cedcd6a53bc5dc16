#include "tools/speculation_options.h"

#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>
#include <vector>

#include "kernels/core/error.h"
#include "kernels/ops/kv_view.h"

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

}  // namespace

int64_t BudgetTokens(const SpeculationFlags& flags, int64_t prompt_tokens) {
  // A size that no chunk may have is the plan's to refuse.
  const int64_t chunk = std::clamp(flags.chunk_size.value_or(kKeyTile), kKeyTile, kKvBlock);
  return flags.budget.value_or(DefaultBudgetTokens(prompt_tokens, chunk));
}

int64_t ChunkTokens(const SpeculationFlags& flags, int64_t prompt_tokens) {
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
      ->check(CLI::Range(int64_t{1}, kMostGamma));
  app.add_option("--draft-gamma", f.draft_gamma, "tokens drafted for each retrieval pass; default: adapts")
      ->check(CLI::Range(int64_t{0}, kMostGamma));
  app.add_option("--budget", f.budget, "tokens of the retrieval cache; default: a tenth of the prompt")
      ->check(CLI::PositiveNumber);
  app.add_option("--chunk-size", f.chunk_size,
                 "tokens of a chunk, by which KV is ranked and retrieved; default: 32, or 16 or 8 for small budgets");
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

ChosenSpeculation ChooseSpeculation(const SpeculationFlags& flags, PlanInput& input) {
  const std::optional<SpeculationMode> mode = ParseSpeculationMode(flags.mode);  // none: "auto"
  if (mode && mode->drafts() && !flags.has_draft()) {
    throw Error(ErrorKind::kUsage, "--spec " + flags.mode, "needs a draft model", "Give one with --draft-model.");
  }
  if (flags.has_draft() && (!mode || mode->drafts())) {
    input.draft = DraftInput{.shape = ReadModelShape(DraftOf(flags))};
  }
  const int64_t prompt = input.context_tokens - input.predict_tokens;
  input.options.chunk_tokens = ChunkTokens(flags, prompt);
  input.rules.budget_by_prompt = !flags.budget;
  input.rules.chunk_by_budget = !flags.budget && !flags.chunk_size;
  input.options.pipeline = flags.pipeline;
  input.options.weighs_chunks = flags.middle == "h2o" || flags.middle == "oracle";
  SpeculationChoices choices{.shape = mode,
                             .gamma = flags.gamma,
                             .draft_gamma = flags.draft_gamma,
                             .reselect_tokens = {},
                             .budget_tokens = BudgetTokens(flags, prompt),
                             .acceptance = {}};
  if (flags.reselect != "auto") choices.reselect_tokens = ReselectTokens(flags.reselect);
  const SpeculationPlan found = PlanSpeculation(input, choices);
  input = InputFor(input, found.shape, choices);
  input.options.gamma = found.round.gamma;
  input.options.draft_gamma = found.round.draft_gamma;
  input.options.weighs_chunks = input.options.weighs_chunks && found.shape.retrieval;
  return {{.mode = found.shape,
           .gamma = found.round.gamma,
           .draft_gamma = found.round.draft_gamma,
           .adapts = found.rounds,
           .assumed = choices.acceptance,
           .retrieval = {.on = found.shape.retrieval,
                         .middle = MiddleOf(flags.middle),
                         .reselect_tokens = found.reselect_tokens},
           .on_device = flags.graphs ? SpeculationOptions::OnDevice::kReplayed : SpeculationOptions::OnDevice::kNot},
          found.round.ms_per_token};
}

std::string Describe(const ChosenSpeculation& chosen, const Plan& plan) {
  const SpeculationOptions& o = chosen.options;
  std::string text = Name(o.mode);
  const bool adapts = o.adapts && !(o.adapts->gamma && (o.adapts->draft_gamma || !o.adapts->below));
  if (!o.mode.none()) text += fmt::format(", gamma {}", o.gamma);
  if (o.draft_gamma > 0) text += fmt::format(", draft gamma {}", o.draft_gamma);
  if (!o.mode.none() && adapts) text += " to begin with";
  if (o.mode.retrieval) text += fmt::format(", budget {}", plan.input.options.budget_tokens);
  return text + fmt::format("; {:.2f} ms per token expected", chosen.ms_per_token);
}

}  // namespace triforce
