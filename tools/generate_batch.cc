#include "tools/generate_batch.h"

#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "kernels/core/error.h"
#include "models/output_file.h"
#include "runtime/batch.h"
#include "tools/command.h"
#include "tools/interrupt.h"
#include "tools/progress.h"
#include "tools/prompts_file.h"
#include "tools/run_labels.h"
#include "tools/speculation_report.h"
#include "tools/standard_streams.h"

namespace triforce {
namespace {

class BatchCommand {
 public:
  BatchCommand(const GenerateFlags& flags, std::stop_token stop) : flags_(flags), stop_(std::move(stop)) {}

  int Run() {
    const InputOptions& input = flags_.input;
    if (input.is_text() || input.ids || input.prompt_tokens || flags_.samples != 1) {
      throw Error(ErrorKind::kUsage, "--prompts",
                  "says all prompts; --prompt, --file, --ids, --prompt-tokens and --samples do not go with it");
    }
    const ModelConfig config = ReadModelConfig(SourceOf(flags_.model));
    SayLabels(LabelsOf(flags_.model));
    tokenizer_ = OpenTokenizerFor(flags_, config, /*ids_given=*/true);
    MakeJobs(config);
    if (WritesFiles(flags_)) OutlastOutput();
    if (!flags_.output_ids.empty()) ids_file_.emplace(flags_.output_ids);
    if (!flags_.stats_json.empty()) stats_file_.emplace(flags_.stats_json);
    const std::unique_ptr<Trace> trace = NewTrace(flags_.model);
    engine_ = LoadEngine(flags_.model,
                         {.context_tokens = context_,
                          .predict_tokens = predict_,
                          .draft = DraftOf(flags_.speculation),
                          .complete =
                              [&](PlanInput& plan) {
                                plan.batch = std::min<int64_t>(flags_.batch, static_cast<int64_t>(jobs_.size()));
                                plan.rules.output_fills = fills_context_;
                                chosen_ = ChooseSpeculations(flags_.speculation, plan, PromptLengths());
                              },
                          .trace = trace.get()},
                         stop_);
    for (size_t i = 0; i < jobs_.size(); ++i) jobs_[i].options.speculation = chosen_[i].options;
    if (flags_.model.verbose) {
      Say("{} prompts, {} side by side, context {}; speculation: {}\n", jobs_.size(), engine_->plan().input.batch,
          context_, Describe(chosen_.front(), engine_->plan()));
    }
    Decode();
    Report();
    WriteFiles();
    if (trace != nullptr) trace->Write(flags_.model.trace);
    return stop_.stop_requested() ? InterruptedExitCode() : 0;
  }

 private:
  void MakeJobs(const ModelConfig& config) {
    const GenerateOptions options = MakeGenerateOptions(flags_, config);
    const std::vector<PromptLine> prompts = ReadPrompts(flags_.prompts, tokenizer_.get(), config, stop_);
    texts_.resize(prompts.size());
    for (size_t i = 0; i < prompts.size(); ++i) {
      BatchJob job{.prompt = prompts[i].tokens, .options = options};
      job.options.max_tokens = prompts[i].predict.value_or(flags_.predict);
      job.options.sampling.seed = prompts[i].seed.value_or(options.sampling.seed);
      job.options.sequence = static_cast<uint32_t>(i);
      if (tokenizer_ != nullptr) {
        job.take = [&text = texts_[i]](std::string_view more, TokenOrigin) { text += more; };
      }
      context_ = std::max(context_, ContextFor(prompts[i], config, job.options.max_tokens));
      predict_ = std::max(predict_, job.options.max_tokens);
      jobs_.push_back(std::move(job));
    }
    for (const BatchJob& job : jobs_) {
      if (job.options.max_tokens < 0) {
        fills_context_ = true;
        predict_ = std::max(predict_, context_ - static_cast<int64_t>(job.prompt.size()));
      }
    }
    predict_ = std::min(predict_, context_);
  }

  // Throws Error that names the prompt's line.
  int64_t ContextFor(const PromptLine& prompt, const ModelConfig& config, int64_t predict) const {
    try {
      return ContextTokens(flags_.model, config, static_cast<int64_t>(prompt.tokens.size()), predict);
    } catch (const Error& error) {
      throw error.Within(prompt.where);
    }
  }

  std::vector<int64_t> PromptLengths() const {
    std::vector<int64_t> lengths;
    for (const BatchJob& job : jobs_) lengths.push_back(std::ssize(job.prompt));
    return lengths;
  }

  void Decode() {
    const auto begin = std::chrono::steady_clock::now();
    std::optional<Progress> progress;
    outputs_ = GenerateBatch(
        *engine_, jobs_,
        {.tokenizer = tokenizer_.get(),
         .finished = [&](size_t job, const BatchOutput& output) { PrintText(LineOf(job, output).dump() + "\n"); },
         .prefill_progress =
             [&](size_t job, int64_t done, int64_t total) {
               if (done == 0) progress.emplace(fmt::format("prefill {}", job), Progress::Unit::kTokens);
               if (progress) progress->Update(done, total);
               if (done == total) progress.reset();
             },
         .stop = stop_});
    all_ms_ = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin).count();
  }

  nlohmann::json LineOf(size_t job, const BatchOutput& output) const {
    nlohmann::json line = {{"index", job},
                           {"prompt_tokens", jobs_[job].prompt.size()},
                           {"tokens", output.generation.tokens.size()},
                           {"finish_reason", NameOf(output.generation.reason)},
                           {"ids", Ids(output.generation.tokens)}};
    if (tokenizer_ != nullptr) line["text"] = texts_[job];
    return line;
  }

  std::vector<ProposerReport> Proposers() const {
    std::vector<ProposerReport> sums;
    for (const BatchOutput& output : outputs_) AddReports(sums, output.generation.proposers);
    return sums;
  }
  double PrefillMs() const {
    double ms = 0;
    for (const BatchOutput& output : outputs_) ms += output.prefill_ms;
    return ms;
  }
  int64_t PromptTokens() const {
    int64_t tokens = 0;
    for (size_t i = 0; i < outputs_.size(); ++i) {
      if (outputs_[i].prefill_ms > 0) tokens += static_cast<int64_t>(jobs_[i].prompt.size());
    }
    return tokens;
  }
  int64_t GeneratedTokens() const {
    int64_t tokens = 0;
    for (const BatchOutput& output : outputs_) tokens += static_cast<int64_t>(output.generation.tokens.size());
    return tokens;
  }
  // Prompts are taken in while nothing is decoded.
  double DecodeMs() const { return std::max(0.0, all_ms_ - PrefillMs()); }

  void Report() const {
    SayStep("prefill", PromptTokens(), PrefillMs());
    SayStep("decode", GeneratedTokens(), DecodeMs());
    Say("{}", SpeculationLines(Proposers()));
    if (stop_.stop_requested()) Say("interrupted\n");
  }

  void WriteFiles() {
    if (ids_file_) {
      nlohmann::json ids = nlohmann::json::array();
      for (const BatchOutput& output : outputs_) ids.push_back(Ids(output.generation.tokens));
      ids_file_->Write(ids.dump() + "\n");
      ids_file_->Commit();
    }
    if (!stats_file_) return;
    nlohmann::json sequences = nlohmann::json::array();
    for (size_t i = 0; i < outputs_.size(); ++i) sequences.push_back(LineOf(i, outputs_[i]));
    nlohmann::json stats = {{"prompt_tokens", PromptTokens()},
                            {"generated_tokens", GeneratedTokens()},
                            {"batch", engine_->plan().input.batch},
                            {"prefill_ms", PrefillMs()},
                            {"decode_ms", DecodeMs()},
                            {"ms_per_token", MillisecondsPer(DecodeMs(), GeneratedTokens())},
                            {"levels", LevelsJson(Proposers(), nullptr)},
                            {"sequences", sequences}};
    AddEngineStats(*engine_, flags_.model, stats);
    stats_file_->Write(stats.dump(2) + "\n");
    stats_file_->Commit();
  }

  const GenerateFlags& flags_;
  const std::stop_token stop_;
  std::unique_ptr<Tokenizer> tokenizer_;
  std::vector<BatchJob> jobs_;
  std::vector<std::string> texts_;  // as far as they are known
  int64_t context_ = 0, predict_ = 0;
  bool fills_context_ = false;  // a text goes on until its context is full
  std::optional<OutputFile> ids_file_, stats_file_;
  std::unique_ptr<Engine> engine_;
  std::vector<ChosenSpeculation> chosen_;  // by job
  std::vector<BatchOutput> outputs_;
  double all_ms_ = 0;
};

}  // namespace

int GenerateFromPrompts(const GenerateFlags& flags, std::stop_token stop) {
  return BatchCommand(flags, std::move(stop)).Run();
}

}  // namespace triforce
