#include "offload/plan.h"

#include <fmt/core.h>

#include <algorithm>

#include "kernels/core/bytes.h"
#include "kernels/core/error.h"
#include "kernels/ops/kv_view.h"
#include "offload/placement.h"
#include "offload/plan_sizes.h"

namespace triforce {
namespace {

void CheckInput(const PlanInput& input) {
  const auto refuse = [](const char* where, const std::string& what) { throw Error(ErrorKind::kUsage, where, what); };
  const PlanOptions& o = input.options;
  if (input.context_tokens < 1 || input.context_tokens > input.shape.max_positions) {
    refuse("context", fmt::format("found {} tokens, expected 1 to {}, the model's max_position_embeddings",
                                  input.context_tokens, input.shape.max_positions));
  }
  if (input.predict_tokens < 0) refuse("--predict", fmt::format("found {}", input.predict_tokens));
  if (o.slots && *o.slots < 2) refuse("--slots", fmt::format("found {}, expected 2 or more", *o.slots));
  if (o.slot_bytes && *o.slot_bytes < 1) refuse("--slot-size", fmt::format("found {}", *o.slot_bytes));
  if (o.prefill_rows < 1) refuse("prefill rows", fmt::format("found {}, expected 1 or more", o.prefill_rows));
  if (o.chunk_tokens < kKeyTile || o.chunk_tokens > kKvBlock || kKvBlock % o.chunk_tokens != 0) {
    refuse("--chunk-size", fmt::format("found {}, expected 8, 16, 32, 64, 128, 256 or 512", o.chunk_tokens));
  }
  if (o.budget_tokens > 0 && o.budget_tokens < kLeastBudgetChunks * o.chunk_tokens) {
    refuse("--budget", fmt::format("found {}, expected 0 or at least {}, {} chunks", o.budget_tokens,
                                   kLeastBudgetChunks * o.chunk_tokens, kLeastBudgetChunks));
  }
  if (o.budget_tokens < 0) refuse("--budget", fmt::format("found {}", o.budget_tokens));
}

// "106 GiB (114306580480 bytes)": to read, and to give to a flag.
std::string InBothUnits(int64_t bytes) {
  return bytes < 1024 ? fmt::format("{} bytes", bytes) : fmt::format("{} ({} bytes)", FormatBytes(bytes), bytes);
}

// Where the error sends the reader.
std::string RemedyFor(const std::string& tier, const PlanInput& input) {
  const int64_t longest = LongestContext(input);
  std::string remedy = longest > 0 ? fmt::format("The longest context that fits is {} tokens. ", longest)
                                   : std::string("No context fits, however short. ");
  if (tier == "device memory") return remedy + "Raise --device-memory, or shorten the context (--ctx-size, --predict).";
  if (tier == "disk memory") return remedy + "Raise --disk-memory, or --host-memory.";
  return remedy + "Raise --host-memory, or give a folder on a fast disk with --disk.";
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
  if (const std::optional<Shortage> shortage = Place(input, plan)) {
    throw Error(ErrorKind::kOutOfMemory, shortage->tier,
                fmt::format("a context of {} tokens needs {}; {} are available, {} are missing", input.context_tokens,
                            InBothUnits(shortage->needed_bytes), InBothUnits(shortage->available_bytes),
                            InBothUnits(shortage->needed_bytes - shortage->available_bytes)),
                RemedyFor(shortage->tier, input));
  }
  if (input.options.looks_at_all_keys && plan.streams_kv()) {
    throw Error(ErrorKind::kUsage, "--middle oracle", "looks at all keys, and some are not on the device",
                "Raise --device-memory.");
  }
  plan.times = PredictTimes(plan);
  return plan;
}

int64_t LongestContext(const PlanInput& input) {
  int64_t low = 0, high = input.shape.max_positions;
  while (low < high) {
    PlanInput shorter = input;
    shorter.context_tokens = low + (high - low + 1) / 2;
    shorter.predict_tokens = std::min(input.predict_tokens, shorter.context_tokens);
    Plan plan;
    Place(shorter, plan) ? high = shorter.context_tokens - 1 : low = shorter.context_tokens;
  }
  return low;
}

}  // namespace triforce
