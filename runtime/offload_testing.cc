#include "runtime/offload_testing.h"

#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string_view>

#include "models/json_file.h"
#include "runtime/device_testing.h"

namespace triforce {
namespace {

constexpr const char* kSmallShape = "tiny";

std::string TemporaryFolder() {
  const char* folder = std::getenv("TEST_TMPDIR");
  return folder == nullptr ? "/tmp" : folder;
}

}  // namespace

LongModel::LongModel(const std::string& model, bool one_layer) {
  const std::string path_of_config = model + "/config.json";
  nlohmann::json config = ParseJson(ReadFile(path_of_config), path_of_config);
  config.at("max_position_embeddings") = 4096;
  if (one_layer) config.at("num_hidden_layers") = 1;
  directory_.Write("config.json", config.dump());
  std::filesystem::copy_file(model + "/model.safetensors", path() + "/model.safetensors");
}

std::vector<TokenId> Tokens(int64_t count, int32_t vocab, uint32_t seed) {
  std::vector<TokenId> tokens;
  uint32_t state = seed;
  for (int64_t i = 0; i < count; ++i) {
    state = state * 1664525u + 1013904223u;
    tokens.push_back(TokenId{static_cast<int32_t>(state >> 8) % vocab});
  }
  return tokens;
}

void AddDemoDraft(EngineOptions& options) {
  (SmallTests() ? options.random_draft : options.draft_directory) = SmallTests() ? kSmallShape : "models/demo/draft";
}

int32_t DemoVocab() { return SmallTests() ? 512 : 4096; }

int64_t DemoHeads() { return SmallTests() ? 2 * 2 : 4 * 4; }

int64_t DemoBlockBytes() {
  constexpr int64_t kHeadDim = 64;
  return DemoHeads() * kKvBlock * kHeadDim * 2 * SizeOf(DType::kF16);
}

EngineOptions Options(const Workload& work) {
  const bool random = SmallTests() && std::string_view(work.model) == kDemo;
  return {.model_directory = random ? "" : work.model,
          .random_model = random ? kSmallShape : "",
          .device = TestDevice(),
          .plan = {.context_tokens = work.context(),
                   .predict_tokens = work.steps,
                   .device_bytes = 4 * kGiB,
                   .host_bytes = kGiB,
                   .options = {.slot_bytes = 1 << 18}},
          .threads = 2,
          .disk_directory = TemporaryFolder()};
}

PlanOptions With(PlanOptions options, std::optional<int64_t> resident_weights, std::optional<int64_t> resident_kv,
                 std::optional<int64_t> host_weights, std::optional<int64_t> host_kv) {
  options.resident_weight_bytes = resident_weights;
  options.resident_kv_bytes = resident_kv;
  options.host_weight_bytes = host_weights;
  options.host_kv_bytes = host_kv;
  return options;
}

std::vector<std::pair<std::string, EngineOptions>> Placements(const EngineOptions& base) {
  const Plan resident = Engine(base).plan();
  const int64_t kv = resident.device.BytesOf("resident KV"), weights = resident.device.BytesOf("resident weights");
  std::vector<std::pair<std::string, EngineOptions>> placements;
  const auto add = [&](const std::string& name, const PlanOptions& options, int64_t disk_bytes = 0) {
    EngineOptions with = base;
    with.plan.options = options;
    with.plan.disk_bytes = disk_bytes;
    placements.emplace_back(name, with);
  };
  const PlanOptions& options = base.plan.options;
  add("KV on the host, 1/8 resident", With(options, {}, kv / 8));
  add("KV on the host", With(options, {}, 0));
  add("KV and weights on the host", With(options, 0, 0));
  add("KV half resident, weights half resident", With(options, weights / 3, kv / 2));
  add("KV and weights on disk", With(options, 0, 0, 0, 0), kGiB);
  add("KV and weights in three tiers", With(options, weights / 6, kv / 3, weights / 3, kv / 3), kGiB);
  for (const int64_t slots : {2, 3, 8}) {
    PlanOptions of_ring = With(options, weights / 6, kv / 8);
    of_ring.slots = slots;
    add("ring of " + std::to_string(slots) + " slots", of_ring);
  }
  PlanOptions pageable = With(options, weights / 6, kv / 8);
  pageable.pinned_bytes = 65536;
  add("host memory that cannot be locked", pageable);
  pageable.host_kv_bytes = kv / 3;
  add("the same, and a disk", pageable, kGiB);
  PlanOptions spilled = With(options, {}, 0);
  spilled.hidden_on_device = false;
  spilled.embedding_on_device = false;
  if (OneClass()) spilled.prefill_rows = 100;
  add("hidden states and embedding on the host", spilled);
  return placements;
}

}  // namespace triforce
