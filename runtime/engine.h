// Engine: a model on a device, ready to run; Session: one sequence on it, its tokens and their KV.
//
// The Engine loads weights once and owns device, lane and arenas; Sessions are made from it and must not outlive it.
// One thread at a time uses an Engine and its Sessions.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <stop_token>
#include <string>
#include <vector>

#include "kernels/core/dtype.h"
#include "kernels/core/tensor.h"
#include "models/config.h"
#include "models/token_id.h"

namespace triforce {

class Lane;
class Session;
class Trace;

// Called with how much is done of how much, from 0 on: bytes when loading, tokens in prefill.
using ProgressFunction = std::function<void(int64_t done, int64_t total)>;

struct EngineOptions {
  std::string model_directory;
  DType kv_type = DType::kF16;
  int threads = 0;                  // 0: one per core
  int64_t device_memory_bytes = 0;  // 0: what the machine has available
  int64_t prefill_rows = 512;       // tokens of a prompt that go through the model at a time
  Trace* trace = nullptr;
  ProgressFunction load_progress;
};

struct PeakBytes {
  int64_t device = 0;  // of the device's memory, by its own count
  int64_t host = 0;    // of the process besides (resident set)
};

class Engine {
 public:
  // Loads the model. Throws Error: files (kInvalidInput, kIo, kUnsupported), memory (kOutOfMemory).
  explicit Engine(const EngineOptions& options);
  ~Engine();

  const ModelConfig& config() const;
  const EngineOptions& options() const;
  // Where all of the engine's work is queued.
  Lane& lane();

  // An empty sequence with room for `context_tokens`. Throws Error (kOutOfMemory), or kUsage where the model's
  // positions do not reach that far.
  std::unique_ptr<Session> NewSession(int64_t context_tokens);

  PeakBytes peak_bytes() const;

 private:
  friend class Session;
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

class Session {
 public:
  ~Session();

  std::span<const TokenId> tokens() const;  // whose KV is in the cache
  int64_t context_tokens() const;           // how many can be

  // Appends `tokens` and returns the logits behind the last one: f32 [1, vocab], on the device, until the next call.
  // Many tokens go in blocks of EngineOptions::prefill_rows. Stops early, between blocks, when `stop` is requested:
  // then the result is empty and tokens() says how far it came. Returns with the work queued on the lane. REQUIRES: at
  // least one token. Throws Error (kUsage) where they exceed context_tokens().
  TensorView Append(std::span<const TokenId> tokens, const ProgressFunction& progress = {}, std::stop_token stop = {});

  // Like Append, but with the logits of every token: calls take(logits, first) with f32 [rows, vocab] for each block,
  // `first` being the position of its first row. The lane is idle during the call.
  void AppendWithLogits(std::span<const TokenId> tokens,
                        const std::function<void(const TensorView& logits, int64_t first)>& take,
                        const ProgressFunction& progress = {}, std::stop_token stop = {});

  // Forgets all tokens behind the first `tokens`. REQUIRES: 0 <= tokens <= tokens().size().
  void Rewind(int64_t tokens);

 private:
  friend class Engine;
  struct Impl;
  explicit Session(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace triforce
