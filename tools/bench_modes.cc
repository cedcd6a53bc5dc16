#include "tools/bench_modes.h"

#include <fmt/core.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <string_view>

#include "kernels/core/error.h"

namespace triforce {
namespace {

struct BenchMode {
  const char* name;
  const char* spec;
  const char* middle;
  bool needs_draft;
  bool by_default;
};

constexpr std::array<BenchMode, 12> kModes = {{
    {kPlainResident, "none", "retrieval", false, true},
    {kPlainOffloaded, "none", "retrieval", false, true},
    {"draft", "draft", "retrieval", true, true},
    {"retrieval", "retrieval", "retrieval", false, true},
    {"hierarchy", "hierarchy", "retrieval", true, true},
    {"hierarchy with streaming", "hierarchy", "streaming", true, true},
    {"hierarchy with h2o", "hierarchy", "h2o", true, true},
    {"ngram", "ngram", "retrieval", false, true},
    {"auto", "auto", "retrieval", false, true},
    {"ngram+retrieval", "ngram+retrieval", "retrieval", false, false},
    {"ngram+draft", "ngram+draft", "retrieval", true, false},
    {"ngram+hierarchy", "ngram+hierarchy", "retrieval", true, false},
}};

const BenchMode& ModeNamed(const std::string& name) {
  const auto* const mode =
      std::find_if(kModes.begin(), kModes.end(), [&](const BenchMode& m) { return name == m.name; });
  if (mode == kModes.end()) {
    throw Error(ErrorKind::kUsage, "--modes",
                fmt::format("found \"{}\", expected one of {}", name, fmt::join(BenchModeNames(), ", ")));
  }
  return *mode;
}

BenchConfiguration ConfigurationOf(const BenchMode& mode) {
  return {.name = mode.name,
          .mode = mode.name,
          .spec = mode.spec,
          .middle = mode.middle,
          .resident = std::string_view(mode.name) == kPlainResident};
}

void RequireDraft(const std::string& flag) {
  throw Error(ErrorKind::kUsage, flag, "needs a draft model", "Give one with --draft-model.");
}

}  // namespace

std::vector<std::string> BenchModeNames() {
  std::vector<std::string> names;
  for (const BenchMode& mode : kModes) names.emplace_back(mode.name);
  return names;
}

BenchChoice ChooseConfigurations(const BenchModeFlags& flags) {
  BenchChoice choice;
  const auto add = [&](const BenchMode& mode) {
    const auto same = [&](const BenchConfiguration& c) { return c.mode == mode.name; };
    if (std::none_of(choice.configurations.begin(), choice.configurations.end(), same)) {
      choice.configurations.push_back(ConfigurationOf(mode));
    }
  };
  for (const std::string& name : flags.modes) {
    const BenchMode& mode = ModeNamed(name);
    if (mode.needs_draft && !flags.has_draft) RequireDraft(fmt::format("mode \"{}\"", name));
    add(mode);
  }
  for (const BenchMode& mode : kModes) {
    if (!flags.modes.empty() || !mode.by_default) continue;
    if (mode.needs_draft && !flags.has_draft) {
      choice.left_out.emplace_back(mode.name);
    } else {
      add(mode);
    }
  }
  const auto sweep = [&](const std::string& name) -> BenchConfiguration& {
    if (!flags.has_draft) RequireDraft("a sweep with the hierarchy");
    choice.configurations.push_back(ConfigurationOf(ModeNamed("hierarchy")));
    choice.configurations.back().name = name;
    return choice.configurations.back();
  };
  for (const double t : flags.temperatures) sweep(fmt::format("hierarchy, temperature {:g}", t)).temperature = t;
  for (const int64_t budget : flags.budgets) sweep(fmt::format("hierarchy, budget {}", budget)).budget = budget;
  return choice;
}

}  // namespace triforce
