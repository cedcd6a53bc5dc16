// triforce bench: modes side by side in one run, so that their times can be compared.
#include <fmt/core.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "kernels/core/error.h"
#include "models/config.h"
#include "models/output_file.h"
#include "models/tokenizer.h"
#include "runtime/random_weights.h"
#include "tools/bench_conditions.h"
#include "tools/bench_csv.h"
#include "tools/bench_json.h"
#include "tools/bench_modes.h"
#include "tools/bench_page.h"
#include "tools/bench_progress.h"
#include "tools/bench_report.h"
#include "tools/bench_run.h"
#include "tools/bench_table.h"
#include "tools/command.h"
#include "tools/interrupt.h"
#include "tools/number_flags.h"
#include "tools/standard_streams.h"

namespace triforce {
namespace {

constexpr int64_t kMostTurns = int64_t{1} << 30;

struct BenchFlags {
  BenchConditionFlags conditions;
  std::vector<std::string> files;
  std::vector<int64_t> contexts = {4096};
  BenchModeFlags modes;
  int64_t seeds = 2, repeats = 1, warmup = 1;
  std::string json, csv, html;
};

void AddFlags(CLI::App& app, BenchFlags& f) {
  AddConditionFlags(app, f.conditions);
  app.add_option("-f,--file", f.files, "text of a prompt, FILE@N: from its token N on; may be given several times")
      ->type_name("FILE");
  app.add_option("--contexts", f.contexts, "tokens of the prompts that are cut from each text")
      ->delimiter(',')
      ->transform(TokenCount(64))
      ->capture_default_str();
  app.add_option("--modes", f.modes.modes,
                 fmt::format("of {}; default: all but the last", fmt::join(BenchModeNames(), ", ")))
      ->delimiter(',')
      ->type_name("MODE,...");
  app.add_option("--temps", f.modes.temperatures, "the hierarchy at each temperature too, for its acceptance")
      ->delimiter(',')
      ->transform(Number(0));
  app.add_option("--budgets", f.modes.budgets, "the hierarchy with each budget too, for its acceptance")
      ->delimiter(',')
      ->transform(TokenCount(1));
  app.add_option("--seeds", f.seeds, "continuations of each prompt")
      ->transform(WholeNumber(1, kMostTurns))
      ->capture_default_str();
  app.add_option("--repeats", f.repeats, "times that each is measured")
      ->transform(WholeNumber(1, kMostTurns))
      ->capture_default_str();
  app.add_option("--warmup", f.warmup, "runs of 16 tokens before, of each mode and prompt, that do not count")
      ->transform(WholeNumber(0, kMostTurns))
      ->capture_default_str();
  app.add_option("--json", f.json, "write all figures as a JSON object")->type_name("FILE");
  app.add_option("--csv", f.csv, "write a line for each run")->type_name("FILE");
  app.add_option("--html", f.html, "write a page with tables and plots")->type_name("FILE");
}

// The files that a run writes: opened before it, so that it is not for nothing.
class Outputs {
 public:
  explicit Outputs(const BenchFlags& flags) {
    if (!flags.json.empty() || !flags.csv.empty() || !flags.html.empty()) OutlastOutput();
    if (!flags.json.empty()) json_.emplace(flags.json);
    if (!flags.csv.empty()) csv_.emplace(flags.csv);
    if (!flags.html.empty()) html_.emplace(flags.html);
  }
  void Write(const BenchHeader& header, const BenchResults& results, const BenchReport& report) {
    const auto write = [](std::optional<OutputFile>& file, const std::string& text) {
      file->Write(text);
      file->Commit();
    };
    if (json_) {
      const nlohmann::json json = BenchJson(header, results, report);
      write(json_, json.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
    }
    if (csv_) write(csv_, BenchCsv(results, report));
    if (html_) write(html_, BenchPage(header, results, report));
  }

 private:
  std::optional<OutputFile> json_, csv_, html_;
};

BenchMatrix MakeMatrix(BenchFlags& flags, const ModelConfig& config, const std::stop_token& stop) {
  const bool random = flags.conditions.model.random_weights;
  if (flags.files.empty() != random) {
    throw random ? Error(ErrorKind::kUsage, "--file", "needs a tokenizer, which a shape has not",
                         "Leave it out: prompts of --shape are random ids.")
                 : Error(ErrorKind::kUsage, "--file", "is missing", "Give one text or several.");
  }
  std::sort(flags.contexts.begin(), flags.contexts.end());
  flags.contexts.erase(std::unique(flags.contexts.begin(), flags.contexts.end()), flags.contexts.end());
  const int64_t longest = flags.contexts.back(), predict = flags.conditions.predict;
  if (longest + predict > config.max_positions) {
    throw Error(ErrorKind::kInvalidInput, "--contexts",
                fmt::format("{} tokens and {} more exceed the {} positions of the model", longest, predict,
                            config.max_positions));
  }
  flags.modes.has_draft = flags.conditions.speculation.has_draft();
  const BenchChoice choice = ChooseConfigurations(flags.modes);
  if (!choice.left_out.empty()) {
    Say("left out for want of --draft-model: {}\n", fmt::join(choice.left_out, ", "));
  }
  BenchMatrix matrix{.texts = {},
                     .contexts = flags.contexts,
                     .configurations = choice.configurations,
                     .sampling = SamplingOf(flags.conditions, config),
                     .seeds = flags.seeds,
                     .repeats = flags.repeats,
                     .warmup = flags.warmup,
                     .labels = {}};
  if (random) {
    matrix.texts.push_back({.name = "random ids", .tokens = RandomIds(longest, config)});
    return matrix;
  }
  const Tokenizer tokenizer(flags.conditions.model.model, config);
  for (const std::string& file : flags.files) {
    matrix.texts.push_back(ReadBenchText(file, tokenizer, stop));
    CutPrompt(matrix.texts.back(), longest);  // tells now where it is too short
  }
  return matrix;
}

int Run(BenchFlags flags, std::stop_token stop) {
  const ModelConfig config = ReadModelConfig(SourceOf(flags.conditions.model));
  BenchMatrix matrix = MakeMatrix(flags, config, stop);
  Outputs outputs(flags);
  const BenchConditions conditions = MakeConditions(flags.conditions, stop);
  matrix.labels = LabelsOf(flags.conditions, conditions);
  BenchHeader header = DescribeConditions(flags.conditions, conditions, matrix);
  BenchProgress progress;
  const BenchResults results =
      BenchRun(
          conditions, matrix, [&](const std::string& what, double done) { progress.Update(what, done); }, stop)
          .Run();
  progress.Clear();
  if (results.turns.empty()) throw Interrupted{};
  const BenchReport report = MakeBenchReport(results);
  Print("{}; {}; {}\n", header.model, header.machine, header.date);
  for (const std::string& label : results.labels) Print("{}\n", label);
  for (const BenchTable& table : MakeBenchTables(results, report)) Print("\n{}", FormatTable(table));
  Print("\n");
  for (const std::string& note : BenchNotes(results, report)) Print("{}\n", note);
  outputs.Write(header, results, report);
  return stop.stop_requested() ? InterruptedExitCode() : 0;
}

}  // namespace

RunCommand AddBenchCommand(CLI::App& app) {
  const auto flags = std::make_shared<BenchFlags>();  // shared: the options write to it, the command reads it
  AddFlags(*app.add_subcommand("bench", "Measure modes of decoding side by side"), *flags);
  return [flags](std::stop_token stop) {
    RequireModel(flags->conditions.model);
    CheckDraft(flags->conditions.speculation, flags->conditions.model.random_weights);
    return Run(*flags, std::move(stop));
  };
}

}  // namespace triforce
