// triforce eval: how well a model predicts a text, and its logits.
#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cmath>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>

#include "kernels/core/error.h"
#include "models/output_file.h"
#include "models/safetensors.h"
#include "runtime/sampling_options.h"
#include "tools/command.h"
#include "tools/interrupt.h"
#include "tools/model_options.h"
#include "tools/progress.h"
#include "tools/run_labels.h"
#include "tools/standard_streams.h"

namespace triforce {
namespace {

struct EvalFlags {
  ModelOptions model;
  InputOptions input;
  std::string logits_out;
  std::string stats_json;
};

bool AllFinite(std::span<const float> values) {
  return std::all_of(values.begin(), values.end(), [](float value) { return std::isfinite(value); });
}

// -log of the probability that softmax(logits) gives to `token`, in nats.
double NegativeLogLikelihood(std::span<const float> logits, TokenId token) {
  double max = -INFINITY, sum = 0;
  for (float logit : logits) max = std::max(max, static_cast<double>(logit));
  for (float logit : logits) sum += std::exp(logit - max);
  return std::log(sum) + max - logits[ToInt(token)];
}

int Run(const EvalFlags& flags, std::stop_token stop) {
  const ModelConfig config = ReadModelConfig(flags.model.model);
  SayLabels(LabelsOf(flags.model));
  // Ids need no tokenizer, and no text is put out.
  const auto tokenizer = flags.input.is_text() ? OpenTokenizer(flags.model, config, /*ids_given=*/false) : nullptr;
  const Input input = ReadInput(flags.input, tokenizer.get(), config, stop);
  const int64_t tokens = static_cast<int64_t>(input.tokens.size());
  if (tokens < 2) {
    throw Error(ErrorKind::kInvalidInput, flags.input.file.value_or(flags.input.ids.value_or("prompt")),
                "has 1 token, expected 2 or more: each is judged by what the ones before it predict");
  }
  const int64_t context = ContextTokens(flags.model, config, tokens, 0);
  if (!flags.logits_out.empty() || !flags.stats_json.empty() || !flags.model.trace.empty()) OutlastOutput();
  std::optional<SafetensorsWriter> writer;
  if (!flags.logits_out.empty()) writer.emplace(flags.logits_out, "logits", std::vector<int64_t>{tokens, config.vocab});
  std::optional<OutputFile> stats_file;
  if (!flags.stats_json.empty()) stats_file.emplace(flags.stats_json);
  const std::unique_ptr<Trace> trace = NewTrace(flags.model);
  const std::unique_ptr<Engine> engine =
      LoadEngine(flags.model, {.context_tokens = context, .trace = trace.get()}, stop);
  const std::unique_ptr<Session> session = engine->NewSession();

  double nll_sum = 0;
  int64_t done = 0;
  const auto take = [&](const TensorView& logits, int64_t first) {
    const std::span<const float> values(logits.as<float>(), logits.elements());
    if (!AllFinite(values)) ThrowNotFinite();
    if (writer) writer->Append(values);
    for (int64_t row = 0; row < logits.dim(0) && first + row + 1 < tokens; ++row) {
      nll_sum += NegativeLogLikelihood(values.subspan(row * config.vocab, config.vocab), input.tokens[first + row + 1]);
    }
    done += logits.dim(0);
  };
  const auto begin = std::chrono::steady_clock::now();
  {
    Progress progress("eval", Progress::Unit::kTokens);
    session->AppendWithLogits(
        input.tokens, take, [&](int64_t n, int64_t total) { progress.Update(n, total); }, stop);
  }
  if (done < tokens) throw Interrupted{};
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  if (writer) writer->Finish();
  const double nll = nll_sum / static_cast<double>(tokens - 1);
  Print("tokens {}\nnegative log-likelihood {:.6f} nats per token\nperplexity {:.4f}\n", tokens, nll, std::exp(nll));
  Say("eval: {} tokens in {:.2f} s, {:.1f} tokens/s\n", tokens, seconds, static_cast<double>(tokens) / seconds);
  if (stats_file) {
    const PeakBytes peak = engine->peak_bytes();
    nlohmann::json stats = {{"tokens", tokens},
                            {"nll", nll},
                            {"perplexity", std::exp(nll)},
                            {"eval_ms", seconds * 1e3},
                            {"peak_bytes", {{"device", peak.device}, {"host", peak.host}}}};
    AddEngineStats(*engine, flags.model, stats);
    stats_file->Write(stats.dump(2) + "\n");
    stats_file->Commit();
  }
  if (trace != nullptr) trace->Write(flags.model.trace);
  return 0;
}

}  // namespace

RunCommand AddEvalCommand(CLI::App& app) {
  const auto flags = std::make_shared<EvalFlags>();  // shared: the options write to it, the command reads it
  CLI::App& command = *app.add_subcommand("eval", "Perplexity of a text, and logits");
  AddModelFlags(command, flags->model);
  AddInputFlags(command, flags->input);
  command.add_option("--logits-out", flags->logits_out, "write f32 logits [tokens, vocab] as safetensors")
      ->type_name("FILE");
  command.add_option("--stats-json", flags->stats_json, "write the results as a JSON object")->type_name("FILE");
  return [flags](std::stop_token stop) {
    RequireModel(flags->model);
    return Run(*flags, stop);
  };
}

}  // namespace triforce
