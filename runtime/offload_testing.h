// What tests of placements share: one workload, and engines that put its bytes into different places.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "models/scratch_directory.h"
#include "models/token_id.h"
#include "runtime/engine.h"

namespace triforce {

inline constexpr const char* kTiny = "tests/data/tiny/gqa";
// The demo pair; in small tests (device_testing.h) the shape "tiny" with random weights, which has room for as many
// tokens, and is a draft of itself.
inline constexpr const char* kDemo = "models/demo/target";
void AddDemoDraft(EngineOptions& options);
int32_t DemoVocab();
int64_t DemoHeads();       // kv_heads of all layers
int64_t DemoBlockBytes();  // of 512 tokens' keys and values in f16, of all of them
inline constexpr int64_t kGiB = int64_t{1} << 30;

// A copy of a model for texts of 4,096 tokens, whatever it was made for; of its first layer alone, where that is asked
// for.
class LongModel {
 public:
  explicit LongModel(const std::string& model, bool one_layer = false);
  std::string path() const { return directory_.path(); }

 private:
  ScratchDirectory directory_;
};

// Deterministic, without pattern.
std::vector<TokenId> Tokens(int64_t count, int32_t vocab, uint32_t seed = 7);

struct Workload {
  const char* model;
  int64_t prompt;
  int64_t steps;
  int64_t rows;  // of the pass behind the steps
  int64_t context() const { return prompt + steps + rows; }
};

// Everything resident, on TestDevice().
EngineOptions Options(const Workload& work);

PlanOptions With(PlanOptions options, std::optional<int64_t> resident_weights, std::optional<int64_t> resident_kv,
                 std::optional<int64_t> host_weights = {}, std::optional<int64_t> host_kv = {});

// Each a different placement of the same model, with all else as in `base`, where everything is resident.
std::vector<std::pair<std::string, EngineOptions>> Placements(const EngineOptions& base);

}  // namespace triforce
