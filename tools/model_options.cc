#include "tools/model_options.h"

#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <nlohmann/json.hpp>

#include "kernels/core/bytes.h"
#include "kernels/core/error.h"
#include "models/json_file.h"
#include "models/output_file.h"
#include "offload/plan_json.h"
#include "runtime/random_weights.h"
#include "tools/context_limit.h"
#include "tools/flags.h"
#include "tools/input_text.h"
#include "tools/interrupt.h"
#include "tools/number_flags.h"
#include "tools/progress.h"
#include "tools/run_labels.h"
#include "tools/standard_streams.h"

namespace triforce {
namespace {

constexpr int64_t kTraceSpans = 1 << 20;

// What a person wants to know who asked for more.
void SayPlan(const Engine& engine) {
  const Plan& plan = engine.plan();
  Say("device memory {} of {}, host {}{}, {} streamed per pass, {:.2f} ms per token expected\n",
      FormatBytes(plan.device.used_bytes()), FormatBytes(plan.device.limit_bytes), FormatBytes(plan.host.used_bytes()),
      plan.host.used_bytes() > 0 ? " (" + engine.host_description() + ")" : "",
      FormatBytes(plan.StreamedBytesPerPass()), plan.times.decode_ms);
  if (plan.disk.used_bytes() > 0) {
    Say("disk {} ({})\n", FormatBytes(plan.disk.used_bytes()), engine.disk_description());
  }
}

}  // namespace

void AddModelFlags(CLI::App& app, ModelOptions& o) {
  app.add_option("-m,--model", o.model, "Hugging Face model directory (required)")->type_name("DIR");
  app.add_option("-c,--ctx-size", o.ctx_size,
                 "tokens that the KV cache holds; default: as many as needed, up to max_position_embeddings")
      ->transform(TokenCount(0));
  app.add_option("-t,--threads", o.threads, "threads; default: one per core")->transform(WholeNumber(0, kMostThreads));
  app.add_option("--kv-type", o.kv_type, "type of the KV cache: f16, bf16 or f32")
      ->check(CLI::IsMember({"f16", "bf16", "f32"}))
      ->capture_default_str();
  app.add_option("--device", o.device, "where to compute: cpu, cuda (the first GPU) or cuda:N")
      ->check(CheckDevice, "DEVICE")
      ->capture_default_str();
  app.add_option("--device-memory", o.device_memory, "most memory to use (24G, 512M), or auto")
      ->check(CheckSizeOrAuto, "SIZE")
      ->capture_default_str();
  AddPlanFlags(app, o.plan);
  app.add_option("--trace", o.trace, "write a Chrome trace of all work")->type_name("FILE");
  app.add_flag("-v,--verbose", o.verbose, "say more on stderr");
}

void AddRandomModelFlags(CLI::App& app, ModelOptions& o) {
  app.add_option("--shape", o.shape, "a known shape instead of a model, with --random-weights")
      ->check(CLI::IsMember(std::vector<std::string>(ShapeNames().begin(), ShapeNames().end())));
  app.add_flag("--random-weights", o.random_weights, "make up the weights of --shape: for times and bytes only");
}

void RequireModel(const ModelOptions& options) {
  const auto refuse = [](const char* where, const char* what, const char* remedy) {
    throw Error(ErrorKind::kUsage, where, what, remedy);
  };
  if (!options.model.empty() && !options.shape.empty()) refuse("--shape", "contradicts --model", "Give one of them.");
  if (options.random_weights && options.shape.empty()) {
    refuse("--random-weights", "needs a shape", "Give one with --shape; a model's own weights are used as they are.");
  }
  if (!options.shape.empty() && !options.random_weights) {
    refuse("--shape", "has no weights", "With --random-weights they are made up, for times and bytes.");
  }
  if (options.model.empty() && options.shape.empty()) {
    refuse("--model", "is missing", "Give a Hugging Face model directory.");
  }
}

ModelSource SourceOf(const ModelOptions& options) { return {options.model, options.shape}; }

void AddInputFlags(CLI::App& app, InputOptions& o) {
  app.add_option("-p,--prompt", o.prompt, "text; <s> or <|im_start|> in it are letters, and no special tokens")
      ->group(kInputGroup)
      ->type_name("TEXT");
  app.add_option("-f,--file", o.file, "file with the text; - for stdin")->group(kInputGroup)->type_name("FILE");
  app.add_option("--ids", o.ids, "file with a JSON list of token ids, instead of text")
      ->group(kInputGroup)
      ->type_name("FILE");
  app.add_option("--prompt-tokens", o.prompt_tokens, "so many random token ids, instead of text")
      ->group(kInputGroup)
      ->transform(TokenCount(1, int64_t{1} << 30));
}

std::vector<TokenId> IdsOf(const nlohmann::json& list, const std::string& where, const ModelConfig& config) {
  if (!list.is_array())
    throw Error(ErrorKind::kInvalidInput, where, "found no list, expected a JSON list of token ids");
  std::vector<TokenId> tokens;
  for (const nlohmann::json& id : list) {
    if (!id.is_number_integer() || id.get<int64_t>() < 0 || id.get<int64_t>() >= config.vocab) {
      throw Error(ErrorKind::kInvalidInput, fmt::format("{}: entry {}", where, tokens.size()),
                  fmt::format("found {}, expected an id from 0 to {}, the vocabulary's", id.dump(), config.vocab - 1));
    }
    tokens.push_back(TokenId{id.get<int32_t>()});
  }
  return tokens;
}

Input ReadInput(const InputOptions& options, const Tokenizer* tokenizer, const ModelConfig& config,
                std::stop_token stop) {
  const int given = options.prompt.has_value() + options.file.has_value() + options.ids.has_value() +
                    options.prompt_tokens.has_value();
  if (given != 1) {
    throw Error(ErrorKind::kUsage, "input",
                fmt::format("found {} of --prompt, --file, --ids and --prompt-tokens, expected exactly one", given));
  }
  Input input;
  if (options.prompt_tokens) {
    input.tokens = RandomIds(*options.prompt_tokens, config);
  } else if (options.ids) {
    input.tokens = IdsOf(ParseJson(ReadInputText(*options.ids, stop), *options.ids), *options.ids, config);
  } else {
    input.text = options.prompt ? *options.prompt : ReadInputText(*options.file, stop);
    if (!input.text.empty()) input.tokens = tokenizer->Encode(input.text, options.file.value_or("prompt"));
  }
  if (input.tokens.empty())
    throw Error(ErrorKind::kInvalidInput, options.file.value_or("prompt"), "is empty, expected text");
  return input;
}

std::unique_ptr<Tokenizer> OpenTokenizer(const ModelOptions& options, const ModelConfig& config, bool ids_given) {
  if (!options.shape.empty()) {
    if (ids_given) return nullptr;
    throw Error(ErrorKind::kUsage, "--shape " + options.shape, "has no tokenizer",
                "Give --prompt-tokens, or --ids, instead of a text.");
  }
  if (ids_given && !Tokenizer::Exists(options.model)) {
    Say("{} has no tokenizer.model: ids only, no text\n", options.model);
    return nullptr;
  }
  try {
    auto tokenizer = std::make_unique<Tokenizer>(options.model, config);
    for (const std::string& note : tokenizer->notes()) Say("{}\n", note);
    return tokenizer;
  } catch (const Error& error) {
    if (!ids_given) throw;
    const std::string reason = error.what();  // its second line says what to do about a text
    Say("{}: ids only, no text\n", reason.substr(0, reason.find('\n')));
    return nullptr;
  }
}

int64_t ContextTokens(const ModelOptions& options, const ModelConfig& config, int64_t tokens, int64_t more) {
  const int64_t wanted = more < 0 ? config.max_positions : tokens + more;
  const int64_t context = options.ctx_size > 0 ? options.ctx_size : std::min(wanted, config.max_positions);
  if (tokens > context) {
    std::string remedy = "Raise --ctx-size.";
    if (options.ctx_size == 0) remedy = "That is the limit of the shape.";
    if (options.ctx_size == 0 && options.shape.empty()) {
      remedy = fmt::format("That is the model's max_position_embeddings; {}. -c (--ctx-size) goes beyond it.",
                           DescribeScaling(config.rope));
    }
    throw Error(ErrorKind::kInvalidInput, "prompt",
                fmt::format("has {} tokens, the context {}; a prompt is not cut", tokens, context), remedy);
  }
  return context;
}

std::unique_ptr<Engine> LoadEngine(const ModelOptions& options, const RunRequest& request, std::stop_token stop) {
  ModelShape shape = ReadModelShape(SourceOf(options));
  ObeyContext(SourceOf(options), request.context_tokens, shape);
  PlanInput plan = MakePlanInput(options.plan, {.shape = shape,
                                                .kv_type = *ParseFloatDType(options.kv_type),
                                                .context_tokens = request.context_tokens,
                                                .predict_tokens = request.predict_tokens,
                                                .device = options.device,
                                                .device_memory = options.device_memory});
  if (request.complete) request.complete(plan);
  Progress progress("loading", Progress::Unit::kBytes);
  auto engine = std::make_unique<Engine>(EngineOptions{
      .model_directory = options.model,
      .random_model = options.shape,
      .device = options.device,
      .draft_directory = plan.draft ? request.draft.directory : "",
      .random_draft = plan.draft ? request.draft.random_shape : "",
      .plan = plan,
      .threads = options.threads,
      .disk_directory = options.plan.disk,
      .reserved_huge_pages = options.plan.huge_pages,
      .numa_node = options.plan.numa_node,
      .trace = request.trace,
      .load_progress =
          [&](int64_t done, int64_t total) {
            if (stop.stop_requested()) throw Interrupted{};
            progress.Update(done, total);
          },
  });
  if (options.verbose) SayPlan(*engine);
  return engine;
}

std::vector<std::string> LabelsOf(const ModelOptions& options) {
  return RunLabels({.device = options.device,
                    .device_memory = options.device_memory,
                    .link_gbps = options.plan.link_gbps,
                    .random_weights = options.random_weights});
}

void AddEngineStats(const Engine& engine, const ModelOptions& options, nlohmann::json& stats) {
  stats["labels"] = LabelsOf(options);
  const TransferCounters& transfers = engine.transfers();
  nlohmann::json bytes = {{"sent_ahead_unused", transfers.unused_bytes()}};
  for (const Direction direction : kDirections) {
    bytes[std::string(Name(direction))] = transfers.bytes(direction);
    for (const Purpose purpose : kPurposes) {
      bytes["by_purpose"][std::string(Name(direction))][std::string(Name(purpose))] =
          transfers.bytes(direction, purpose);
    }
  }
  stats["bytes"] = bytes;
  const WaitTimes waits = engine.wait_times();
  stats["waits_ms"] = {{"compute", waits.compute_ms}, {"copy", waits.copy_ms}};
  stats["plan"] = ToJson(engine.plan());
}

std::unique_ptr<Trace> NewTrace(const ModelOptions& options) {
  if (options.trace.empty()) return nullptr;
  OutputFile(options.trace);  // tells now, and not after the run, that it cannot be written
  return std::make_unique<Trace>(kTraceSpans);
}

}  // namespace triforce
