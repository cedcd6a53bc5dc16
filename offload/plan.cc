#include "offload/plan.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <span>

#include "kernels/core/bytes.h"
#include "kernels/core/error.h"
#include "kernels/ops/kv_view.h"
#include "offload/longest_context.h"
#include "offload/placement.h"
#include "offload/plan_sizes.h"
#include "offload/round_costs.h"

namespace triforce {
namespace {

[[noreturn]] void Refuse(const std::string& where, const std::string& what) {
  throw Error(ErrorKind::kUsage, where, what);
}

struct Limit {
  const char* where;
  int64_t found, least, most;
};

void Check(std::span<const Limit> limits) {
  for (const Limit& limit : limits) {
    if (limit.found >= limit.least && limit.found <= limit.most) continue;
    Refuse(limit.where, fmt::format("found {}, expected {} to {}", limit.found, limit.least, limit.most));
  }
}

// Far beyond what anybody runs, and small enough that what a layer or a ring has can be counted.
constexpr int64_t kMostBatch = 1 << 16, kMostDevices = 8, kMostPrefillRows = 1 << 20;
constexpr int64_t kMostSlots = 1 << 20, kMostSlotBytes = int64_t{1} << 40;

void CheckMemory(const PlanInput& input) {
  const PlanOptions& o = input.options;
  const auto size = [](const char* where, int64_t bytes) { return Limit{where, bytes, 0, kMostSizeBytes}; };
  Check(std::array{
      size("--device-memory", input.device_bytes), size("--host-memory", input.host_bytes),
      size("--disk-memory", input.disk_bytes), size("--resident-weights", o.resident_weight_bytes.value_or(0)),
      size("--resident-kv", o.resident_kv_bytes.value_or(0)), size("--host-weights", o.host_weight_bytes.value_or(0)),
      size("--host-kv", o.host_kv_bytes.value_or(0)), size("--pinned-memory", o.pinned_bytes.value_or(0)),
      Limit{"--slots", o.slots.value_or(2), 2, kMostSlots},
      Limit{"--slot-size", o.slot_bytes.value_or(1), 1, kMostSlotBytes}});
}

void CheckInput(const PlanInput& input) {
  const PlanOptions& o = input.options;
  if (input.context_tokens < 1 || input.context_tokens > input.shape.max_positions) {
    Refuse("context", fmt::format("found {} tokens, expected 1 to {}, the model's max_position_embeddings",
                                  input.context_tokens, input.shape.max_positions));
  }
  if (input.predict_tokens < 0) Refuse("--predict", fmt::format("found {}", input.predict_tokens));
  Check(std::array{Limit{"--batch", input.batch, 1, kMostBatch}, Limit{"--devices", input.devices, 1, kMostDevices},
                   Limit{"prefill rows", o.prefill_rows, 1, kMostPrefillRows}, Limit{"--gamma", o.gamma, 0, kMostGamma},
                   Limit{"--gamma", o.most_gamma, 0, kMostGamma},
                   Limit{"--draft-gamma", o.draft_gamma, 0, kMostGamma}});
  CheckMemory(input);
  if (!(input.link_gbps == 0 || (input.link_gbps >= kLeastRate && input.link_gbps <= kMostRate))) {
    Refuse("--link-gbps",
           fmt::format("found {:g}, expected 0 or {:g} to {:g}", input.link_gbps, kLeastRate, kMostRate));
  }
  if (o.chunk_tokens < kKeyTile || o.chunk_tokens > kKvBlock || kKvBlock % o.chunk_tokens != 0) {
    Refuse("--chunk-size", fmt::format("found {}, expected 8, 16, 32, 64, 128, 256 or 512", o.chunk_tokens));
  }
  if (o.budget_tokens > 0 && o.budget_tokens < kLeastBudgetChunks * o.chunk_tokens) {
    Refuse("--budget", fmt::format("found {}, expected 0 or at least {}, {} chunks", o.budget_tokens,
                                   kLeastBudgetChunks * o.chunk_tokens, kLeastBudgetChunks));
  }
  if (o.budget_tokens < 0) Refuse("--budget", fmt::format("found {}", o.budget_tokens));
}

// "106 GiB (114306580480 bytes)": to read, and to give to a flag.
std::string InBothUnits(int64_t bytes) {
  return bytes < 1024 ? fmt::format("{} bytes", bytes) : fmt::format("{} ({} bytes)", FormatBytes(bytes), bytes);
}

// Where the error sends the reader.
std::string RemedyFor(const Shortage& shortage, const PlanInput& input) {
  const int64_t longest = LongestContext(input);
  const std::string remedy = longest > 0 ? fmt::format("The longest context that fits is {} tokens. ", longest)
                                         : std::string("No context fits, however short. ");
  if (shortage.tier == "device memory") {
    return remedy + "Raise --device-memory" + (longest > 0 ? ", or shorten the context (--ctx-size, --predict)." : ".");
  }
  if (shortage.tier == "host memory") {
    return remedy + (input.disk_bytes == 0
                         ? "Raise --host-memory, or give a folder on a fast disk with --disk."
                         : "Raise --host-memory: what the disk holds passes through slots there, and what the device "
                           "has no room for besides weights and KV lies there.");
  }
  if (!shortage.kept_from_host.empty()) {
    return remedy + "Raise " + shortage.kept_from_host + ", or give a folder on a fast disk with --disk.";
  }
  const bool capped = input.options.host_weight_bytes || input.options.host_kv_bytes;
  return remedy + "Raise --disk-memory, where the disk has room, or --host-memory" +
         (capped ? ", --host-weights and --host-kv." : ".");
}

// What is missing, in words; from a size on that no tier has, nobody counts.
Error ErrorOf(const Shortage& shortage, const PlanInput& input) {
  const char* const at_least = shortage.needed_bytes >= kMostPlanBytes ? "at least " : "";
  return Error(
      ErrorKind::kOutOfMemory, shortage.tier,
      fmt::format("a context of {} tokens needs {}{}; {} are available, {}{} are missing", input.context_tokens,
                  at_least, InBothUnits(shortage.needed_bytes), InBothUnits(shortage.available_bytes), at_least,
                  InBothUnits(shortage.needed_bytes - shortage.available_bytes)),
      RemedyFor(shortage, input));
}

}  // namespace

int64_t LayerPlan::StreamedWeightBytes() const {
  int64_t bytes = 0;
  for (const MatrixPlan& m : matrices) bytes += m.streamed() * m.panel_bytes;
  return bytes;
}

int64_t TierPlan::used_bytes() const {
  int64_t bytes = 0;
  for (const PlanItem& item : items) bytes += item.bytes;
  return bytes;
}

int64_t TierPlan::BytesOf(const std::string& name) const {
  for (const PlanItem& item : items) {
    if (item.name == name) return item.bytes;
  }
  return 0;
}

bool Plan::streams_weights() const {
  return std::any_of(layers.begin(), layers.end(), [](const LayerPlan& l) { return l.StreamedWeightBytes() > 0; });
}

bool Plan::streams_kv() const {
  return std::any_of(layers.begin(), layers.end(), [](const LayerPlan& l) { return l.kv.streamed() > 0; });
}

int64_t Plan::kv_block_bytes() const { return KvBlockBytes(shard, input.kv_type); }

int64_t Plan::prompt_blocks() const {
  return RankedChunks(input.context_tokens - input.predict_tokens, input.options.chunk_tokens) *
         input.options.chunk_tokens / kKvBlock;
}

int64_t Plan::StreamedBytesPerPass() const {
  int64_t bytes = 0;
  for (const LayerPlan& layer : layers) {
    bytes += layer.StreamedWeightBytes() + input.batch * shard.kv_heads * kv_block_bytes() *
                                               std::max<int64_t>(0, prompt_blocks() - layer.kv.resident);
  }
  return bytes;
}

int64_t Plan::DiskBytesPerPass() const {
  int64_t bytes = 0;
  for (const LayerPlan& layer : layers) {
    for (const MatrixPlan& m : layer.matrices) bytes += m.disk() * m.panel_bytes;
    bytes += input.batch * shard.kv_heads * kv_block_bytes() *
             std::max<int64_t>(0, prompt_blocks() - layer.kv.resident - layer.kv.host);
  }
  return bytes;
}

Plan MakePlan(const PlanInput& input) {
  CheckInput(input);
  Plan plan;
  if (const std::optional<Shortage> shortage = Place(input, plan)) throw ErrorOf(*shortage, input);
  if (input.options.looks_at_all_keys && plan.streams_kv()) {
    throw Error(ErrorKind::kUsage, "--middle oracle", "looks at all keys, and some are not on the device",
                "Raise --device-memory.");
  }
  plan.times = PredictTimes(plan);
  return plan;
}

}  // namespace triforce
