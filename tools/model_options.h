// What the subcommands that run a model have in common: their flags, the engine made from them, the text they are
// given.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "kernels/core/trace.h"
#include "models/config.h"
#include "models/token_id.h"
#include "models/tokenizer.h"
#include "runtime/engine.h"
#include "runtime/weight_source.h"
#include "tools/plan_options.h"

namespace CLI {
class App;
}

namespace triforce {

struct ModelOptions {
  std::string model;
  std::string shape;  // instead of a model, with random weights
  bool random_weights = false;
  int64_t ctx_size = 0;  // 0: what is needed
  int threads = 0;
  std::string kv_type = "f16";
  std::string device = "cpu";
  std::string device_memory = "auto";
  PlanFlags plan;
  std::string trace;
  bool verbose = false;
};

void AddModelFlags(CLI::App& app, ModelOptions& options);
// --shape and --random-weights, for commands that can do without a checkpoint.
void AddRandomModelFlags(CLI::App& app, ModelOptions& options);

// Throws Error (kUsage) where no model is given, or two are: by flag, environment or file, which only shows after
// parsing.
void RequireModel(const ModelOptions& options);

ModelSource SourceOf(const ModelOptions& options);

// Where the input comes from: exactly one is given.
struct InputOptions {
  std::optional<std::string> prompt;
  std::optional<std::string> file;  // "-": stdin
  std::optional<std::string> ids;
  std::optional<int64_t> prompt_tokens;  // so many random ids

  bool is_text() const { return prompt.has_value() || file.has_value(); }
};

void AddInputFlags(CLI::App& app, InputOptions& options);

struct Input {
  std::string text;  // empty where ids were given
  std::vector<TokenId> tokens;
};

// `list`, found at `where`, as ids of the vocabulary. Throws Error (kInvalidInput).
std::vector<TokenId> IdsOf(const nlohmann::json& list, const std::string& where, const ModelConfig& config);

// `tokenizer` may be null where no text is given. Throws Error: kUsage where not exactly one source is given,
// kInvalidInput where the text is empty or not UTF-8, or the ids are no list of ids of the vocabulary; Interrupted
// where `stop` is requested while stdin is read.
Input ReadInput(const InputOptions& options, const Tokenizer* tokenizer, const ModelConfig& config,
                std::stop_token stop);

// The model's tokenizer, with its notes on stderr; null, with the reason on stderr, where it has none, or none that can
// be read, and `ids_given` says that it can do without. Throws Error; kUsage where the model has random weights, and no
// tokenizer, and ids are not given.
std::unique_ptr<Tokenizer> OpenTokenizer(const ModelOptions& options, const ModelConfig& config, bool ids_given);

// The context for `tokens` and up to `more` others: as --ctx-size says, or else as needed, up to the model's
// max_position_embeddings. Throws Error (kInvalidInput) where the tokens alone are too many: a prompt is never cut.
int64_t ContextTokens(const ModelOptions& options, const ModelConfig& config, int64_t tokens, int64_t more);

// Plans a run as `triforce plan` does, and loads the model, with a progress bar. Throws Interrupted where `stop` is
// requested meanwhile.
struct RunRequest {
  int64_t context_tokens = 0;
  int64_t predict_tokens = 0;
  ModelSource draft;                                    // loaded where the plan has one
  std::function<void(PlanInput& input)> complete = {};  // what else the plan has to know
  Trace* trace = nullptr;
};
std::unique_ptr<Engine> LoadEngine(const ModelOptions& options, const RunRequest& request, std::stop_token stop);

// What all outputs say of the run (run_labels.h).
std::vector<std::string> LabelsOf(const ModelOptions& options);

// What the engine has moved and waited for, for --stats-json: "bytes", "waits_ms", "plan"; and "labels".
void AddEngineStats(const Engine& engine, const ModelOptions& options, nlohmann::json& stats);

// The trace that --trace asks for; null where it does not.
std::unique_ptr<Trace> NewTrace(const ModelOptions& options);

}  // namespace triforce
