#include "runtime/engine.h"

#include <fmt/core.h>

#include <algorithm>
#include <thread>
#include <utility>

#include "kernels/core/arena.h"
#include "kernels/core/check.h"
#include "kernels/core/cpu_device.h"
#include "kernels/core/error.h"
#include "kernels/core/system_memory.h"
#include "models/checkpoint.h"
#include "runtime/forward.h"
#include "runtime/kv_cache.h"
#include "runtime/load_weights.h"

namespace triforce {
namespace {

// Of what the system has to give, what a default takes: the rest is for the page cache and others.
constexpr double kAutoMemoryShare = 0.9;

int64_t MemoryLimit(const EngineOptions& options) {
  if (options.device_memory_bytes > 0) return options.device_memory_bytes;
  return static_cast<int64_t>(kAutoMemoryShare * static_cast<double>(AvailableMemoryBytes()));
}

int ThreadCount(const EngineOptions& options) {
  return options.threads > 0 ? options.threads : std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

}  // namespace

struct Engine::Impl {
  EngineOptions options;
  ModelConfig config;
  std::unique_ptr<Device> device;
  std::unique_ptr<Lane> lane;
  Arena weights_arena;
  LlamaWeights weights;
  std::unique_ptr<Forward> forward;
};

Engine::Engine(const EngineOptions& options) : impl_(std::make_unique<Impl>()) {
  Impl& e = *impl_;
  e.options = options;
  e.config = ReadModelConfig(options.model_directory);
  const Checkpoint checkpoint(options.model_directory);
  e.device = std::make_unique<CpuDevice>(MemoryLimit(options), options.trace);
  e.lane = e.device->NewLane({.name = "compute", .threads = ThreadCount(options)});
  Arena sizes;
  CutWeights(e.config, checkpoint, sizes);
  e.weights_arena = Arena(*e.device, sizes.used_bytes(), "the weights");
  e.weights = CutWeights(e.config, checkpoint, e.weights_arena);
  FillWeights(e.config, checkpoint, *e.lane, e.weights, [&](int64_t bytes) {
    if (options.load_progress) options.load_progress(bytes, std::max(bytes, checkpoint.bytes()));
  });
  e.forward = std::make_unique<Forward>(*e.lane, e.config, e.weights, options.prefill_rows, e.config.max_positions);
}

Engine::~Engine() = default;

const ModelConfig& Engine::config() const { return impl_->config; }

const EngineOptions& Engine::options() const { return impl_->options; }

Lane& Engine::lane() { return *impl_->lane; }

PeakBytes Engine::peak_bytes() const {
  const int64_t device = impl_->device->peak_bytes();
  return {device, std::max<int64_t>(0, PeakResidentBytes() - device)};
}

struct Session::Impl {
  Engine::Impl& engine;
  KvCache cache;
  std::vector<TokenId> tokens;  // its memory is reserved once: queued passes read it

  Impl(Engine::Impl& e, int64_t context_tokens)
      : engine(e), cache(*e.device, e.config, e.options.kv_type, context_tokens) {
    tokens.reserve(context_tokens);
  }

  // Runs the next block of `rest`; 0 where it was stopped, else its rows.
  int64_t AppendBlock(std::span<const TokenId> rest, std::stop_token stop) {
    const int64_t rows = std::min<int64_t>(engine.forward->max_rows(), rest.size());
    const int64_t first = static_cast<int64_t>(tokens.size());
    tokens.insert(tokens.end(), rest.begin(), rest.begin() + rows);
    if (!engine.forward->Run({std::span(tokens).subspan(first), first, &cache}, stop)) {
      tokens.resize(first);
      return 0;
    }
    cache.set_tokens(first + rows);
    return rows;
  }

  void CheckTokens(std::span<const TokenId> more) const {
    TF_CHECK(!more.empty());
    if (static_cast<int64_t>(tokens.size() + more.size()) > cache.context_tokens()) {
      throw Error(ErrorKind::kUsage, "context",
                  fmt::format("{} tokens and {} more exceed the context of {}", tokens.size(), more.size(),
                              cache.context_tokens()),
                  "Raise --ctx-size.");
    }
    for (TokenId token : more) {
      if (ToInt(token) < 0 || ToInt(token) >= engine.config.vocab) {
        throw Error(ErrorKind::kInvalidInput, "token ids",
                    fmt::format("found {}, expected 0 to {}, the vocabulary's", ToInt(token), engine.config.vocab - 1));
      }
    }
  }
};

std::unique_ptr<Session> Engine::NewSession(int64_t context_tokens) {
  if (context_tokens < 1 || context_tokens > impl_->config.max_positions) {
    throw Error(ErrorKind::kUsage, "context",
                fmt::format("found {} tokens, expected 1 to {}, the model's max_position_embeddings", context_tokens,
                            impl_->config.max_positions));
  }
  return std::unique_ptr<Session>(new Session(std::make_unique<Session::Impl>(*impl_, context_tokens)));
}

Session::Session(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

// Queued work may still use the cache.
Session::~Session() {
  try {
    impl_->engine.lane->Synchronize();
  } catch (...) {  // of no interest any more
  }
}

std::span<const TokenId> Session::tokens() const { return impl_->tokens; }

int64_t Session::context_tokens() const { return impl_->cache.context_tokens(); }

TensorView Session::Append(std::span<const TokenId> tokens, const ProgressFunction& progress, std::stop_token stop) {
  impl_->CheckTokens(tokens);
  const int64_t total = static_cast<int64_t>(tokens.size());
  int64_t rows = 0;
  for (int64_t done = 0; done < total; done += rows) {
    if (progress) progress(done, total);
    rows = impl_->AppendBlock(tokens.subspan(done), stop);
    if (rows == 0) return TensorView();
    if (total > rows) impl_->engine.lane->Synchronize();  // so that progress means something
  }
  if (progress) progress(total, total);
  return impl_->engine.forward->Logits(rows - 1, 1);
}

void Session::AppendWithLogits(std::span<const TokenId> tokens,
                               const std::function<void(const TensorView& logits, int64_t first)>& take,
                               const ProgressFunction& progress, std::stop_token stop) {
  impl_->CheckTokens(tokens);
  const int64_t total = static_cast<int64_t>(tokens.size());
  int64_t rows = 0;
  for (int64_t done = 0; done < total; done += rows) {
    if (progress) progress(done, total);
    const int64_t first = static_cast<int64_t>(impl_->tokens.size());
    rows = impl_->AppendBlock(tokens.subspan(done), stop);
    if (rows == 0) return;
    const int64_t step = std::min(Forward::kLogitsRows, impl_->engine.forward->max_rows());
    for (int64_t row = 0; row < rows; row += step) {
      const TensorView logits = impl_->engine.forward->Logits(row, std::min(step, rows - row));
      impl_->engine.lane->Synchronize();
      take(logits, first + row);
    }
  }
  if (progress) progress(total, total);
}

void Session::Rewind(int64_t tokens) {
  TF_CHECK(tokens >= 0 && tokens <= static_cast<int64_t>(impl_->tokens.size()), "{} of {}", tokens,
           impl_->tokens.size());
  impl_->engine.lane->Synchronize();
  impl_->tokens.resize(tokens, TokenId{});
  impl_->cache.set_tokens(tokens);
}

}  // namespace triforce
