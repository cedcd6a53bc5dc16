// triforce generate: continues a text.
#include <fmt/core.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "kernels/core/error.h"
#include "kernels/core/span_shares.h"
#include "models/output_file.h"
#include "runtime/generate.h"
#include "tools/command.h"
#include "tools/generate_batch.h"
#include "tools/generate_flags.h"
#include "tools/interrupt.h"
#include "tools/progress.h"
#include "tools/run_labels.h"
#include "tools/speculation_report.h"
#include "tools/standard_streams.h"

namespace triforce {
namespace {

// One run of the command, from flags to files.
class GenerateRun {
 public:
  GenerateRun(const GenerateFlags& flags, std::stop_token stop) : flags_(flags), stop_(std::move(stop)) {}

  int Run() {
    const ModelConfig config = ReadModelConfig(SourceOf(flags_.model));
    SayLabels(LabelsOf(flags_.model));
    options_ = MakeGenerateOptions(flags_, config);
    tokenizer_ = OpenTokenizerFor(flags_, config, !flags_.input.is_text());
    const Input input = ReadInput(flags_.input, tokenizer_.get(), config, stop_);
    prompt_tokens_ = static_cast<int64_t>(input.tokens.size());
    const int64_t context = ContextTokens(flags_.model, config, prompt_tokens_, flags_.predict);
    if (WritesFiles(flags_)) OutlastOutput();
    if (!flags_.output_ids.empty()) ids_file_.emplace(flags_.output_ids);
    if (!flags_.stats_json.empty()) stats_file_.emplace(flags_.stats_json);
    const std::unique_ptr<Trace> trace = NewTrace(flags_.model);
    engine_ =
        LoadEngine(flags_.model,
                   {.context_tokens = context,
                    .predict_tokens = flags_.predict < 0 ? context - prompt_tokens_ : std::min(flags_.predict, context),
                    .draft = DraftOf(flags_.speculation),
                    .complete =
                        [&](PlanInput& plan) {
                          plan.rules.output_fills = flags_.predict < 0;
                          chosen_ = ChooseSpeculations(flags_.speculation, plan, {&prompt_tokens_, 1}).at(0);
                          options_.speculation = chosen_.options;
                        },
                    .trace = trace.get()},
                   stop_);
    session_ = engine_->NewSession();
    SayVerbose(context);
    const TensorView logits = Prefill(input.tokens);
    if (logits && !flags_.no_display_prompt) PrintText(input.text + (flags_.samples > 1 ? "\n" : ""));
    if (logits) GenerateSamples(logits);
    Report();
    WriteFiles();
    if (trace != nullptr) trace->Write(flags_.model.trace);
    return stop_.stop_requested() ? InterruptedExitCode() : 0;
  }

 private:
  void SayVerbose(int64_t context) const {
    if (!flags_.model.verbose) return;
    const SamplingFilter& f = options_.sampling.filter;
    Say("prompt {} tokens, context {}, KV {}; temperature {}, top-k {}, top-p {}, min-p {}, seed {}\n", prompt_tokens_,
        context, flags_.model.kv_type, f.temperature, f.top_k, f.top_p, f.min_p, options_.sampling.seed);
    Say("speculation: {}\n", Describe(chosen_, engine_->plan()));
    if (!chosen_.options.mode.none() && Colours()) {
      Say("{}, {} and {} tokens\n", Coloured("accepted", TokenOrigin::kAccepted),
          Coloured("corrected", TokenOrigin::kCorrected), Coloured("bonus", TokenOrigin::kBonus));
    }
  }

  // With -v, at a terminal.
  bool Colours() const { return flags_.model.verbose && ::isatty(STDOUT_FILENO) == 1; }

  TensorView Prefill(const std::vector<TokenId>& tokens) {
    const auto begin = std::chrono::steady_clock::now();
    Progress progress("prefill", Progress::Unit::kTokens);
    const TensorView logits = session_->Append(
        tokens, [&](int64_t done, int64_t total) { progress.Update(done, total); }, stop_);
    engine_->lane().Synchronize();
    prompt_ms_ = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin).count();
    prefill_ms_ = prompt_ms_;
    return logits;
  }

  void GenerateSamples(TensorView logits) {
    for (int64_t k = 0; k < flags_.samples && !stop_.stop_requested(); ++k) {
      if (k > 0 || options_.speculation.begins_with_pass) {
        logits = session_->AppendLastAgain(prompt_tokens_);  // the prompt's KV is still there
      }
      if (flags_.samples > 1)
        PrintText(fmt::format("{}=== sample {} of {} ===\n", k > 0 ? "\n" : "", k + 1, flags_.samples));
      options_.sequence = static_cast<uint32_t>(k);
      const TakeText print = [colours = Colours()](std::string_view text, TokenOrigin origin) {
        PrintText(colours ? Coloured(text, origin) : std::string(text));
      };
      samples_.push_back(
          Generate(*session_, *engine_, logits, options_, tokenizer_.get(), tokenizer_ ? print : TakeText(), stop_));
      prefill_ms_ += samples_.back().prepare_ms;
      PrintText(tokenizer_ ? "\n" : IdText(samples_.back().tokens) + "\n");
    }
  }

  int64_t GeneratedTokens() const {
    int64_t sum = 0;
    for (const Generation& sample : samples_) sum += static_cast<int64_t>(sample.tokens.size());
    return sum;
  }

  double DecodeMs() const {
    double sum = 0;
    for (const Generation& sample : samples_) sum += sample.decode_ms;
    return sum;
  }

  std::vector<ProposerReport> Proposers() const {
    std::vector<ProposerReport> sums;
    for (const Generation& sample : samples_) AddReports(sums, sample.proposers);
    return sums;
  }

  // Of each kind of pass, what the compute lane does meanwhile.
  std::vector<std::pair<std::string, SpanShares>> Shares() const {
    std::vector<std::pair<std::string, SpanShares>> shares;
    if (engine_->trace() == nullptr) return shares;
    for (const char* pass : {"verify pass", "retrieval pass", "draft pass", "rounds on the device"}) {
      const SpanShares of_pass = SharesDuring(*engine_->trace(), pass, "compute");
      if (of_pass.spans > 0) shares.emplace_back(pass, of_pass);
    }
    return shares;
  }

  std::vector<StepTime> Steps() const {
    return StepsBesidePlan(engine_->plan(),
                           {.prefill_ms = prompt_ms_,
                            .decode_ms = DecodeMs(),
                            .tokens = GeneratedTokens(),
                            .proposers = Proposers(),
                            .retrieval = options_.speculation.mode.retrieval ? &session_->retrieval_stats() : nullptr});
  }

  const char* Reason() const {
    return samples_.empty() ? NameOf(FinishReason::kInterrupted) : NameOf(samples_.back().reason);
  }

  void Report() const {
    SayStep("prefill",
            static_cast<int64_t>(
                session_->tokens().empty() ? 0 : std::min<int64_t>(prompt_tokens_, session_->tokens().size())),
            prefill_ms_);
    SayStep("decode", GeneratedTokens(), DecodeMs());
    Say("{}", SpeculationLines(Proposers()));
    // Of random weights nothing else is of interest.
    if (flags_.model.verbose || flags_.model.random_weights) Say("{}", StepLines(Steps()));
    if (flags_.model.verbose) {
      for (const auto& [pass, s] : Shares()) {
        Say("{}: compute lane works {:.1f} %, waits {:.1f} %, gaps {:.1f} %, edges {:.1f} % of {:.3f} ms\n", pass,
            100 * s.work, 100 * s.waits, 100 * s.gaps, 100 * s.edges, s.mean_ms);
      }
    }
    if (stop_.stop_requested()) Say("interrupted\n");
    if (!samples_.empty() && samples_.back().reason == FinishReason::kContextFull) {
      Say("the context of {} tokens is full\n", session_->context_tokens());
    }
  }

  void WriteFiles() {
    if (ids_file_) {
      nlohmann::json ids = nlohmann::json::array();
      for (const Generation& sample : samples_) ids.push_back(Ids(sample.tokens));
      ids_file_->Write((flags_.samples > 1 ? ids : samples_.empty() ? nlohmann::json::array() : ids[0]).dump() + "\n");
      ids_file_->Commit();
    }
    if (stats_file_) {
      stats_file_->Write(Stats().dump(2) + "\n");
      stats_file_->Commit();
    }
  }

  nlohmann::json Stats() const {
    const PeakBytes peak = engine_->peak_bytes();
    nlohmann::json stats = {
        {"prompt_tokens", prompt_tokens_},
        {"generated_tokens", GeneratedTokens()},
        {"prefill_ms", prefill_ms_},
        {"decode_ms", DecodeMs()},
        {"ms_per_token", MillisecondsPer(DecodeMs(), GeneratedTokens())},
        {"ids", samples_.empty() ? nlohmann::json::array() : Ids(samples_[0].tokens)},
        {"peak_bytes", {{"device", peak.device}, {"host", peak.host}}},
        {"speculation",
         {{"mode", Name(options_.speculation.mode)},
          {"gamma", options_.speculation.gamma},
          {"draft_gamma", options_.speculation.draft_gamma},
          {"expected_ms_per_token", chosen_.ms_per_token}}},
        {"levels",
         LevelsJson(Proposers(), options_.speculation.mode.retrieval ? &session_->retrieval_stats() : nullptr)},
        {"steps", StepsJson(Steps())},
        {"seed", options_.sampling.seed},
        {"finish_reason", Reason()},
    };
    AddEngineStats(*engine_, flags_.model, stats);
    for (const auto& [pass, s] : Shares()) {
      stats["compute_lane"].push_back({{"pass", pass},
                                       {"passes", s.spans},
                                       {"mean_ms", s.mean_ms},
                                       {"work", s.work},
                                       {"waits", s.waits},
                                       {"gaps", s.gaps},
                                       {"edges", s.edges}});
    }
    if (flags_.samples > 1) {
      for (const Generation& sample : samples_) {
        stats["samples"].push_back({{"ids", Ids(sample.tokens)}, {"finish_reason", NameOf(sample.reason)}});
      }
    }
    return stats;
  }

  const GenerateFlags& flags_;
  const std::stop_token stop_;
  GenerateOptions options_;
  std::unique_ptr<Tokenizer> tokenizer_;
  std::optional<OutputFile> ids_file_, stats_file_;
  std::unique_ptr<Engine> engine_;
  std::unique_ptr<Session> session_;
  int64_t prompt_tokens_ = 0;
  double prompt_ms_ = 0;   // of the prompt itself
  double prefill_ms_ = 0;  // and of what else takes it in
  ChosenSpeculation chosen_;
  std::vector<Generation> samples_;
};

}  // namespace

RunCommand AddGenerateCommand(CLI::App& app) {
  const auto flags = std::make_shared<GenerateFlags>();  // shared: the options write to it, the command reads it
  AddGenerateFlags(*app.add_subcommand("generate", "Continue a text"), *flags);
  return [flags](std::stop_token stop) {
    RequireModel(flags->model);
    CheckDraft(flags->speculation, flags->model.random_weights);
    return flags->prompts.empty() ? GenerateRun(*flags, stop).Run() : GenerateFromPrompts(*flags, stop);
  };
}

}  // namespace triforce
