// What drafts and different middle caches would propose: expected acceptance (acceptance_measurement.h), over texts, by
// temperature, budget and chunk size.
//
//   bazel run -c opt //tools/bench:acceptance -- --model DIR --draft-model DIR --sweep temperature,budget,chunk
//       [--json FILE] [--svg-dir DIR] TEXT[@FIRST_TOKEN]...
#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "kernels/core/error.h"
#include "models/json_file.h"
#include "models/output_file.h"
#include "models/tokenizer.h"
#include "runtime/engine.h"
#include "tools/bench/acceptance_measurement.h"
#include "tools/bench/acceptance_report.h"
#include "tools/bench/acceptance_sweep.h"

namespace triforce {
namespace {

struct Flags {
  std::string model, draft, json, svg_directory;
  std::vector<std::string> texts;
  std::vector<Sweep> sweeps = {Sweep::kKinds};
  SweepSettings sweep;
  AcceptanceSettings measurement;
  bool repeat = false;
};

// The prompt of "PATH" or "PATH@FIRST_TOKEN".
std::vector<TokenId> PromptOf(const Flags& flags, const std::string& text, const Tokenizer& tokenizer) {
  const size_t at_sign = text.rfind('@');
  const std::string path = text.substr(0, at_sign);
  const int64_t first = at_sign == std::string::npos ? 0 : std::stoll(text.substr(at_sign + 1));
  std::vector<TokenId> tokens = tokenizer.Encode(ReadFile(path, int64_t{1} << 30), path);
  const int64_t needed = first + flags.sweep.prompt_tokens;
  if (static_cast<int64_t>(tokens.size()) < needed) {
    throw Error(ErrorKind::kInvalidInput, path, fmt::format("has {} tokens, expected {}", tokens.size(), needed));
  }
  std::vector<TokenId> prompt(tokens.begin() + first, tokens.begin() + needed);
  if (flags.repeat) {
    // A passage of the first tenth comes again at the end.
    const int64_t passage = 400, at = flags.sweep.prompt_tokens / 10;
    std::copy(prompt.begin() + at, prompt.begin() + at + passage, prompt.end() - passage);
  }
  prompt.front() = tokens.front();
  return prompt;
}

double Measure(AcceptanceMeasurement& measurement, const AcceptanceCase& of) {
  switch (of.of) {
    case AcceptanceCase::Of::kDraft:
      return measurement.OfDraft();
    case AcceptanceCase::Of::kMiddle:
      return measurement.OfMiddle(of.middle);
    case AcceptanceCase::Of::kCandidates:
      return measurement.OfCandidates(of.middle, of.candidates);
    case AcceptanceCase::Of::kTwoInARow:
      break;
  }
  return measurement.OfTwoInARow(of.middle);
}

// All cases of one chunk size: an engine for them, and a prefill for each text.
void MeasureChunks(const Flags& flags, int64_t chunk_tokens, std::vector<AcceptanceResult*> results) {
  int64_t budget = 0;
  bool oracle = false;
  for (const AcceptanceResult* r : results) {
    budget = std::max(budget, r->of.middle.budget_tokens);
    oracle = oracle || r->of.middle.middle == Middle::kOracle;
  }
  Engine engine({.model_directory = flags.model,
                 .draft_directory = flags.draft,
                 .plan = {.context_tokens = flags.sweep.prompt_tokens + flags.measurement.tokens + 64,
                          .predict_tokens = flags.measurement.tokens,
                          .batch = 2,
                          .options = {.chunk_tokens = chunk_tokens,
                                      .budget_tokens = std::max(budget, 4 * chunk_tokens),
                                      .weighs_chunks = true,
                                      .looks_at_all_keys = oracle,
                                      .gamma = flags.measurement.verify_every}}});
  const Tokenizer tokenizer(flags.model, engine.config());
  std::stable_sort(results.begin(), results.end(), [](const AcceptanceResult* a, const AcceptanceResult* b) {
    return a->of.temperature < b->of.temperature;
  });
  for (const std::string& text : flags.texts) {
    AcceptanceMeasurement measurement(engine, flags.measurement, PromptOf(flags, text, tokenizer));
    fmt::print("{}\n", text);
    for (size_t i = 0; i < results.size(); ++i) {
      const AcceptanceCase& of = results[i]->of;
      if (i == 0 || of.temperature != results[i - 1]->of.temperature) measurement.Draw(of.temperature);
      results[i]->values.push_back(Measure(measurement, of));
      fmt::print("  {:58} {:.4f}\n", Describe(of), results[i]->values.back());
      std::fflush(stdout);
    }
  }
}

void Save(const std::string& path, const std::string& text) {
  OutputFile file(path);
  file.Write(text);
  file.Commit();
}

int Run(Flags flags) {
  flags.sweep.draft = !flags.draft.empty();
  std::vector<AcceptanceResult> results;
  for (const Sweep sweep : flags.sweeps) {
    for (AcceptanceCase& of : CasesOf(sweep, flags.sweep)) results.push_back({std::move(of), {}});
  }
  std::map<int64_t, std::vector<AcceptanceResult*>> by_chunk;
  for (AcceptanceResult& r : results) by_chunk[r.of.chunk_tokens].push_back(&r);
  for (const auto& [chunk_tokens, of_chunk] : by_chunk) MeasureChunks(flags, chunk_tokens, of_chunk);
  fmt::print("means of {} texts, with their standard errors\n{}", flags.texts.size(), AcceptanceTable(results));
  if (!flags.json.empty()) {
    const nlohmann::json json = {{"prompt_tokens", flags.sweep.prompt_tokens},
                                 {"tokens", flags.measurement.tokens},
                                 {"verify_every", flags.measurement.verify_every},
                                 {"top_p", flags.measurement.top_p},
                                 {"seed", flags.measurement.seed},
                                 {"repeat", flags.repeat},
                                 {"texts", flags.texts},
                                 {"cases", AcceptanceJson(results)}};
    Save(flags.json, json.dump(2) + "\n");
  }
  if (flags.svg_directory.empty()) return 0;
  for (const NamedPlot& plot : AcceptancePlots(results)) Save(flags.svg_directory + "/" + plot.file_name, plot.svg);
  return 0;
}

}  // namespace
}  // namespace triforce

int main(int argc, char** argv) {
  using namespace triforce;
  Flags f;
  const std::map<std::string, Sweep> sweeps = {{"temperature", Sweep::kTemperature},
                                               {"budget", Sweep::kBudget},
                                               {"chunk", Sweep::kChunk},
                                               {"kinds", Sweep::kKinds},
                                               {"candidates", Sweep::kCandidates}};
  CLI::App app("Expected acceptance of middle caches and of a draft");
  app.add_option("--model", f.model)->required();
  app.add_option("--draft-model", f.draft);
  app.add_option("texts", f.texts)->required();
  app.add_option("--sweep", f.sweeps, "temperature, budget, chunk, kinds, candidates; several with commas")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->transform(CLI::CheckedTransformer(sweeps))
      ->default_str("kinds");
  app.add_option("--json", f.json, "write means, standard errors and each text's values")->type_name("FILE");
  app.add_option("--svg-dir", f.svg_directory, "write plots there")->check(CLI::ExistingDirectory);
  app.add_option("--prompt-tokens", f.sweep.prompt_tokens)->capture_default_str();
  app.add_option("--tokens", f.measurement.tokens, "that follow the prompt")
      ->check(CLI::Range(2, 1 << 20))
      ->capture_default_str();
  app.add_option("--verify-every", f.measurement.verify_every)->check(CLI::Range(1, 63))->capture_default_str();
  app.add_option("--chunk-size", f.sweep.chunk_tokens)->capture_default_str();
  app.add_option("--budget", f.sweep.most_budget, "the larger of chunks, the largest of kinds")->capture_default_str();
  app.add_option("--temp", f.sweep.temperature)->capture_default_str();
  app.add_option("--top-p", f.measurement.top_p)->capture_default_str();
  app.add_option("--seed", f.measurement.seed)->capture_default_str();
  app.add_flag("--repeat", f.repeat, "the prompt's end repeats a passage from far before");
  CLI11_PARSE(app, argc, argv);
  try {
    return Run(f);
  } catch (const Error& error) {
    fmt::print(stderr, "{}\n", error.what());
    return 1;
  }
}
