#include "tools/speculation_options.h"

#include <CLI/CLI.hpp>
#include <vector>

#include "kernels/core/error.h"

namespace triforce {

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
}

SpeculationOptions MakeSpeculationOptions(const SpeculationFlags& flags) {
  SpeculationOptions options;
  options.mode = ParseSpeculationMode(flags.mode).value_or(SpeculationMode{});
  if (flags.gamma) options.gamma = *flags.gamma;
  if (flags.draft_gamma) options.draft_gamma = *flags.draft_gamma;
  if (options.mode.bottom == Bottom::kDraft && flags.draft_model.empty()) {
    throw Error(ErrorKind::kUsage, "--spec " + flags.mode, "needs a draft model", "Give one with --draft-model.");
  }
  return options;
}

}  // namespace triforce
