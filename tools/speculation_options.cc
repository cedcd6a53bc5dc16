#include "tools/speculation_options.h"

#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>
#include <vector>

#include "kernels/core/error.h"
#include "offload/plan_sizes.h"

namespace triforce {
namespace {

int64_t ReselectTokens(const std::string& text) {
  if (text == "every") return 1;
  if (text == "never") return 0;
  int64_t tokens = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), tokens);
  return error == std::errc() && end == text.data() + text.size() ? tokens : -1;
}

std::string CheckReselect(const std::string& text) {
  if (text == "never" || ReselectTokens(text) > 0) return "";
  return fmt::format("found \"{}\", expected every, never or a number of tokens", text);
}

}  // namespace

void AddSpeculationFlags(CLI::App& app, SpeculationFlags& f) {
  std::vector<std::string> modes = {"auto"};
  for (const std::string_view name : SpeculationModeNames()) modes.emplace_back(name);
  app.add_option("--spec", f.mode, "how tokens are proposed; auto: as the plan expects to be fastest")
      ->check(CLI::IsMember(modes))
      ->capture_default_str();
  app.add_option("-M,--draft-model,--md", f.draft_model, "model directory of a draft with the same vocabulary")
      ->type_name("DIR");
  app.add_option("--gamma", f.gamma, "tokens proposed for each verify pass")->check(CLI::Range(int64_t{1}, kMostGamma));
  app.add_option("--draft-gamma", f.draft_gamma, "tokens drafted for each retrieval pass")
      ->check(CLI::Range(int64_t{0}, kMostGamma));
  app.add_option("--budget", f.budget, "tokens of the retrieval cache; default: a tenth of the prompt")
      ->check(CLI::PositiveNumber);
  app.add_option("--chunk-size", f.chunk_size, "tokens of a chunk, by which KV is ranked and retrieved")
      ->capture_default_str();
  app.add_option("--middle", f.middle, "what the middle cache holds: retrieval, streaming or h2o")
      ->check(CLI::IsMember({"retrieval", "streaming", "h2o"}))
      ->capture_default_str();
  app.add_option("--reselect", f.reselect, "when its chunks are chosen anew: every (round), never, or behind N tokens")
      ->type_name("every|N|never")
      ->check(CheckReselect, "")
      ->capture_default_str();
}

SpeculationOptions MakeSpeculationOptions(const SpeculationFlags& flags) {
  SpeculationOptions options;
  options.mode = ParseSpeculationMode(flags.mode).value_or(SpeculationMode{});
  if (flags.gamma) options.gamma = *flags.gamma;
  if (flags.draft_gamma) options.draft_gamma = *flags.draft_gamma;
  options.retrieval.middle = flags.middle == "streaming" ? Middle::kStreaming
                             : flags.middle == "h2o"     ? Middle::kHeavyHitters
                                                         : Middle::kRetrieval;
  options.retrieval.reselect_tokens = ReselectTokens(flags.reselect);
  if (options.mode.bottom == Bottom::kDraft && flags.draft_model.empty()) {
    throw Error(ErrorKind::kUsage, "--spec " + flags.mode, "needs a draft model", "Give one with --draft-model.");
  }
  return options;
}

void AddToPlan(const SpeculationFlags& flags, const SpeculationOptions& options, int64_t prompt_tokens,
               PlanInput& input) {
  input.options.chunk_tokens = flags.chunk_size;
  input.options.gamma = options.mode.none() ? 0 : options.gamma;
  if (!options.mode.retrieval) return;
  input.options.weighs_chunks = options.retrieval.middle == Middle::kHeavyHitters;
  const int64_t least = kLeastBudgetChunks * flags.chunk_size;
  input.options.budget_tokens = flags.budget.value_or(std::max(least, prompt_tokens / 10));
}

}  // namespace triforce
