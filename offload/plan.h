// Plan: where every byte of a run lies, and how long its steps should take; made before anything is loaded.
//
// A pure function of its input. `triforce plan` prints a Plan, the engine executes the very same object: it allocates
// what `device`, `host` and `disk` say, places weights by `layers[i].matrices` and KV by `layers[i].kv`, and streams
// in slots of `ring`. Printing is plan_json.h and the command's.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "kernels/core/dtype.h"
#include "offload/model_shape.h"
#include "offload/rates.h"

namespace triforce {

// What a person may decide; the plan chooses what is left open. Bytes are of all layers and, for KV, all sequences.
struct PlanOptions {
  std::optional<int64_t> resident_weight_bytes;  // the most of the layers' linear weights to keep on the device
  std::optional<int64_t> resident_kv_bytes;      // the most of the stored KV to keep there
  std::optional<int64_t> host_weight_bytes;      // the most of the streamed weights to keep on the host, not on disk
  std::optional<int64_t> host_kv_bytes;          // the same of the streamed KV
  std::optional<int64_t> pinned_bytes;           // the most host memory that may be locked; left open: all of it
  std::optional<int64_t> slots;                  // of the ring, 2 or more
  std::optional<int64_t> slot_bytes;
  std::optional<bool> hidden_on_device;  // prefill's hidden states of the whole prompt
  std::optional<bool> embedding_on_device;
  int64_t prefill_rows = 512;  // rows of one block of prefill
  int64_t chunk_tokens = 8;    // of one chunk, by which KV is ranked and retrieved; a multiple of 8 that divides 512
  int64_t budget_tokens = 0;   // of the retrieval cache; 0: there is none
  bool weighs_chunks = false;  // the retrieval cache holds heavy hitters, whose shares of attention are summed up
  bool looks_at_all_keys = false;  // its chunks are chosen by all keys (Middle::kOracle), which lie on the device
  // Tokens that are proposed a round, and drafted for a retrieval pass, as times are predicted; 0: plain decoding. And
  // the most that any round proposes, where gamma adapts; no less than gamma counts.
  int64_t gamma = 0;
  int64_t draft_gamma = 0;
  int64_t most_gamma = 0;
  bool pipeline = true;  // what the next verify pass streams crosses the link while tokens are proposed for it

  bool operator==(const PlanOptions&) const = default;
};

// A draft model, which lies on the device whole, and its streaming cache: attention sinks and the most recent tokens.
struct DraftInput {
  ModelShape shape;
  int64_t sink_tokens = 16;
  int64_t cache_tokens = 256;  // sinks included
};

// How parts of an input follow from its context where nobody has fixed them: what another context would get by itself
// (longest_context.h).
struct ContextRules {
  bool output_fills = false;        // predict_tokens are what the prompt leaves of the context
  bool budget_by_prompt = false;    // budget_tokens, unless there is no retrieval cache, are DefaultBudgetTokens
  bool chunk_by_budget = false;     // chunk_tokens are ChunkTokensFor such a budget
  int64_t least_budget_tokens = 0;  // where that is more
};

struct PlanInput {
  ModelShape shape;
  std::optional<DraftInput> draft;
  DType kv_type = DType::kF16;
  int64_t context_tokens = 0;  // of one sequence, prompt and output
  int64_t predict_tokens = 0;  // how many of them are output
  int64_t batch = 1;           // sequences
  int64_t devices = 1;         // that share out heads and features
  bool cpu_device = true;
  int64_t device_bytes = 0;  // of each device
  int64_t host_bytes = 0;    // of the host pool
  int64_t disk_bytes = 0;    // 0: no disk tier
  Rates rates;               // of each device and its link
  double link_gbps = 0;      // --link-gbps: transfers to the device are throttled to this; 0: they are not
  PlanOptions options;
  ContextRules rules;
};

// A linear weight in panels: the first on the device, the next on the host, the last on disk.
struct MatrixPlan {
  int64_t panels = 0;
  int64_t panel_bytes = 0;
  int64_t resident = 0;
  int64_t host = 0;
  int64_t disk() const { return panels - resident - host; }
  int64_t streamed() const { return panels - resident; }
  bool operator==(const MatrixPlan&) const = default;
};

// The stored KV of a layer in blocks per kv_head, by storage position: the first on the device, then host, then disk.
// A cut falls at the same block of every kv_head and sequence.
struct KvPlan {
  int64_t resident = 0;
  int64_t host = 0;
  int64_t disk = 0;
  int64_t streamed() const { return host + disk; }
  int64_t blocks() const { return resident + host + disk; }
  bool operator==(const KvPlan&) const = default;
};

struct LayerPlan {
  std::array<MatrixPlan, kLayerMatrices> matrices;  // by LayerMatrix
  KvPlan kv;                                        // of each sequence
  const MatrixPlan& matrix(LayerMatrix m) const { return matrices[static_cast<int>(m)]; }
  int64_t StreamedWeightBytes() const;
  bool operator==(const LayerPlan&) const = default;
};

struct RingPlan {
  int64_t slots = 0;
  int64_t slot_bytes = 0;
  int64_t staging_slots = 0;  // on the host, for what cannot cross the link directly; 0 where all can
  bool operator==(const RingPlan&) const = default;
};

// What a tier holds, for a person to read; the bytes are those that are allocated.
struct PlanItem {
  std::string name;  // "resident KV"
  int64_t bytes = 0;
  bool operator==(const PlanItem&) const = default;
};

struct TierPlan {
  int64_t limit_bytes = 0;
  std::vector<PlanItem> items;
  int64_t used_bytes() const;
  int64_t BytesOf(const std::string& name) const;  // 0 where there is no such item
  bool operator==(const TierPlan&) const = default;
};

// In milliseconds, of one device (they work side by side).
struct PlanTimes {
  double prefill_ms = 0;         // of context - predict tokens
  double decode_ms = 0;          // a plain decoding step: the longest of link, disk and compute
  double decode_link_ms = 0;     // of which transfers alone
  double decode_disk_ms = 0;     // reading from disk alone
  double decode_compute_ms = 0;  // computing alone
  double retrieval_pass_ms = 0;  // of draft_gamma + 1 rows, where there is a budget
  double reselect_ms = 0;        // choosing its chunks anew and fetching those that are streamed
  double verify_ms = 0;          // a pass of gamma + 1 rows over all KV
  double verify_compute_ms = 0;  // of which computing alone
  double draft_pass_ms = 0;      // where there is a draft
  bool operator==(const PlanTimes&) const = default;
};

struct Plan {
  PlanInput input;
  ModelShape shard;  // what each device has of the model
  std::vector<LayerPlan> layers;
  RingPlan ring;
  int64_t tail_blocks = 0;      // per layer and kv_head on the device: the newest tokens
  int64_t activation_rows = 0;  // of the largest pass
  int64_t partial_bytes = 0;    // for attention's partials
  int64_t guest_blocks = 0;     // per layer, kv_head and sequence: room for streamed chunks in the retrieval cache
  bool hidden_on_device = true;
  bool embedding_on_device = true;
  bool stages_host = false;     // pinned_bytes are too few: what streams from the host passes through the staging slots
  TierPlan device, host, disk;  // device: each of them; host and disk: for all together
  PlanTimes times;

  bool streams_weights() const;
  bool streams_kv() const;
  int64_t kv_block_bytes() const;  // of one block of one kv_head, keys and values
  // Blocks per kv_head that are stored, outside the tail, behind a prompt of context - predict tokens.
  int64_t prompt_blocks() const;
  // Bytes that a decoding pass brings over one device's link behind such a prompt; and those of them that are on disk.
  int64_t StreamedBytesPerPass() const;
  int64_t DiskBytesPerPass() const;
};

// Whole chunks of a prompt that are ranked; its last token is always left to the tail (kv_store.h).
constexpr int64_t RankedChunks(int64_t prompt_tokens, int64_t chunk_tokens) {
  return prompt_tokens < 1 ? 0 : (prompt_tokens - 1) / chunk_tokens;
}

// Throws Error: kUsage where a number is out of range, or options contradict the shape or each other; kOutOfMemory
// where it does not fit, naming the tier, bytes needed and available, and the longest context that would fit
// (longest_context.h). Whatever the numbers, none wraps around.
Plan MakePlan(const PlanInput& input);

// What MakePlan expects of the steps of `plan`, whose placement is made (plan_times.cc).
PlanTimes PredictTimes(const Plan& plan);

}  // namespace triforce
