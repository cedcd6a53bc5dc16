#include "tools/model_flags.h"

#include <fmt/core.h>

#include <algorithm>
#include <limits>

#include "kernels/core/error.h"
#include "runtime/engine.h"
#include "tools/interrupt.h"
#include "tools/progress_bar.h"

namespace triforce {

Flag ModelFlag(std::string& directory) {
  return {.name = "model",
          .letter = "m",
          .value = Text("DIR", Set(directory)),
          .help = "Hugging Face model directory: config.json, *.safetensors, tokenizer.model",
          .group = "Model"};
}

std::vector<Flag> ModelFlags::List() {
  static constexpr int64_t kMaxThreads = 1024;
  return {
      ModelFlag(directory),
      {.name = "ctx-size",
       .letter = "c",
       .value = Integer(1, std::numeric_limits<int64_t>::max(), Set(context_tokens)),
       .help = "Tokens of context (default: what is needed, at most the model's positions)",
       .group = "Model"},
      {.name = "kv-type",
       .value = OneOf({"f16", "bf16", "f32"}, [this](const std::string& name) { kv_type = *ParseFloatDType(name); }),
       .help = "Type of the KV cache (default: f16)",
       .group = "Model"},
      {.name = "device-memory",
       .value = ByteSize(Set(device_memory_bytes)),
       .help = "Limit of the device's memory, such as 512M or 24G (default: auto)",
       .group = "Model"},
      {.name = "threads",
       .letter = "t",
       .value = Integer(1, kMaxThreads, Set(threads)),
       .help = "Threads that compute (default: one per core)",
       .group = "Model"},
      {.name = "trace",
       .value = Text("FILE", Set(trace_path)),
       .help = "Write a trace of all ops, for chrome://tracing or ui.perfetto.dev",
       .group = "Output"},
      {.name = "verbose",
       .letter = "v",
       .value = Switch(Set(verbose)),
       .help = "Say more on standard error",
       .group = "Output"},
  };
}

void RequireModel(const std::string& directory) {
  if (!directory.empty()) return;
  throw Error(ErrorKind::kUsage, "--model", "not given",
              "Give a Hugging Face model directory: -m DIR, TRIFORCE_MODEL, or model in the config file.");
}

std::unique_ptr<Engine> LoadEngine(const ModelFlags& flags, Trace* trace, const Interrupt& interrupt) {
  ProgressBar bar("Loading", ProgressBar::Unit::kBytes);
  EngineOptions options;
  options.model_directory = flags.directory;
  options.kv_type = flags.kv_type;
  options.threads = flags.threads;
  options.device_memory_bytes = flags.device_memory_bytes;
  options.trace = trace;
  options.load_progress = [&](int64_t done, int64_t total) {
    interrupt.Check();
    bar.Update(done, total);
  };
  auto engine = std::make_unique<Engine>(options);
  interrupt.Check();
  return engine;
}

int64_t ContextTokens(const ModelFlags& flags, int64_t prompt_tokens, int64_t more_tokens, int64_t max_positions) {
  if (flags.context_tokens && *flags.context_tokens > max_positions) {
    throw Error(ErrorKind::kUsage, "--ctx-size",
                fmt::format("found {} tokens, expected at most {}, the model's max_position_embeddings",
                            *flags.context_tokens, max_positions));
  }
  const int64_t most = flags.context_tokens.value_or(max_positions);
  if (prompt_tokens > most) {
    const bool by_flag = most < max_positions;
    throw Error(ErrorKind::kInvalidInput, "prompt",
                fmt::format("found {} tokens, expected at most {}, {}", prompt_tokens, most,
                            by_flag ? "as --ctx-size says" : "the model's max_position_embeddings"),
                by_flag && prompt_tokens <= max_positions
                    ? fmt::format("Raise --ctx-size; the model goes up to {}.", max_positions)
                    : "Give a shorter prompt.");
  }
  if (flags.context_tokens || more_tokens < 0 || more_tokens > max_positions - prompt_tokens) return most;
  return prompt_tokens + more_tokens;
}

}  // namespace triforce
