#include "tools/generate_flags.h"

#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "kernels/core/error.h"
#include "tools/number_flags.h"
#include "tools/standard_streams.h"

namespace triforce {
namespace {

constexpr int64_t kMostSequences = int64_t{1} << 30;

}  // namespace

void AddGenerateFlags(CLI::App& app, GenerateFlags& o) {
  AddModelFlags(app, o.model);
  AddRandomModelFlags(app, o.model);
  AddInputFlags(app, o.input);
  AddSpeculationFlags(app, o.speculation);
  app.add_option("-n,--predict", o.predict, "tokens to generate; -1: until the context is full")
      ->transform(TokenCount(-1))
      ->capture_default_str();
  AddSamplingFlags(app, o.sampling);
  app.add_option("--samples", o.samples, "independent continuations of one prompt")
      ->transform(WholeNumber(1, kMostSequences));
  app.add_option("--prompts", o.prompts,
                 "several prompts, one JSON object a line: {\"prompt\": \"text\"} or {\"ids\": [..]}, and, if they "
                 "differ, \"predict\" and \"seed\"; results come as such lines, too; \"-\": stdin")
      ->type_name("FILE.jsonl");
  app.add_option("--batch", o.batch, "of --prompts, decoded side by side at most")
      ->transform(WholeNumber(1, kMostSequences))
      ->capture_default_str();
  app.add_option("--stop", o.stop, "text that ends the output; may be given several times")->type_name("TEXT");
  app.add_flag("--ignore-eos", o.ignore_eos, "go on behind the end-of-sequence token");
  app.add_flag("--no-display-prompt", o.no_display_prompt, "print the continuation only");
  app.add_option("--output-ids", o.output_ids, "write the generated ids as a JSON list")->type_name("FILE");
  app.add_option("--stats-json", o.stats_json, "write figures of the run as a JSON object")->type_name("FILE");
}

GenerateOptions MakeGenerateOptions(const GenerateFlags& flags, const ModelConfig& config) {
  GenerateOptions options{.max_tokens = flags.predict, .stop_strings = flags.stop};
  options.sampling = MakeSamplingOptions(flags.sampling, flags.model.model, config);
  if (!flags.ignore_eos) options.end_of_sequence = EndOfSequence(flags.model.model, config);
  for (const std::string& stop : flags.stop) {
    if (stop.empty()) throw Error(ErrorKind::kUsage, "--stop", "is empty, expected text");
  }
  return options;
}

bool WritesFiles(const GenerateFlags& flags) {
  return !flags.output_ids.empty() || !flags.stats_json.empty() || !flags.model.trace.empty();
}

const char* NameOf(FinishReason reason) {
  switch (reason) {
    case FinishReason::kMaxTokens:
      return "length";
    case FinishReason::kContextFull:
      return "context_full";
    case FinishReason::kEndOfSequence:
      return "eos";
    case FinishReason::kStopString:
      return "stop_string";
    case FinishReason::kInterrupted:
      return "interrupted";
  }
  return "?";
}

nlohmann::json Ids(const std::vector<TokenId>& tokens) {
  nlohmann::json ids = nlohmann::json::array();
  for (TokenId token : tokens) ids.push_back(ToInt(token));
  return ids;
}

std::string IdText(const std::vector<TokenId>& tokens) {
  std::string text;
  for (TokenId token : tokens) text += fmt::format("{}{}", text.empty() ? "" : " ", ToInt(token));
  return text;
}

double MillisecondsPer(double ms, int64_t tokens) { return tokens == 0 ? 0 : ms / static_cast<double>(tokens); }

std::unique_ptr<Tokenizer> OpenTokenizerFor(const GenerateFlags& flags, const ModelConfig& config, bool ids_given) {
  auto tokenizer = OpenTokenizer(flags.model, config, ids_given);
  if (tokenizer == nullptr && !flags.stop.empty()) {
    throw Error(ErrorKind::kUsage, "--stop", "needs a tokenizer, which this model has not");
  }
  return tokenizer;
}

void SayStep(const char* step, int64_t tokens, double ms) {
  Say("{}: {} tokens in {:.2f} s, {:.3f} ms per token, {:.1f} tokens/s\n", step, tokens, ms * 1e-3,
      MillisecondsPer(ms, tokens), ms > 0 ? static_cast<double>(tokens) / ms * 1e3 : 0.0);
}

}  // namespace triforce
