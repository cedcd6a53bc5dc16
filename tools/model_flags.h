// The flags that say which model runs, and how: those of every command that loads one.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "kernels/core/dtype.h"
#include "tools/flag.h"

namespace triforce {

class Engine;
class Interrupt;
class Trace;

struct ModelFlags {
  std::string directory;
  std::optional<int64_t> context_tokens;
  DType kv_type = DType::kF16;
  int threads = 0;                  // 0: one per core
  int64_t device_memory_bytes = 0;  // 0: what is available
  std::string trace_path;           // empty: no trace
  bool verbose = false;

  std::vector<Flag> List();
};

// -m alone.
Flag ModelFlag(std::string& directory);

// Throws Error (kUsage) where no directory was given.
void RequireModel(const std::string& directory);

// Loads the model, showing progress. Throws Error as Engine does, and Interrupted. `trace` may be null.
std::unique_ptr<Engine> LoadEngine(const ModelFlags& flags, Trace* trace, const Interrupt& interrupt);

// How many tokens the session needs: what --ctx-size says, else `prompt_tokens` and `more_tokens` (-1: all there can
// be), at most the model's `max_positions`. Throws Error (kInvalidInput) where the prompt does not fit, kUsage where
// --ctx-size is beyond the model's positions.
int64_t ContextTokens(const ModelFlags& flags, int64_t prompt_tokens, int64_t more_tokens, int64_t max_positions);

}  // namespace triforce
