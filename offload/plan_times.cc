// What the plan expects of each step: bytes over rates, operations over rates, and what a pass costs besides.
#include <algorithm>
#include <cmath>

#include "kernels/ops/kv_view.h"
#include "offload/plan.h"
#include "offload/plan_sizes.h"

namespace triforce {
namespace {

constexpr double kBytesPerMsPerGbps = 1e6;    // 10^9 bytes a second
constexpr double kFlopsPerMsPerGflops = 1e6;  // 10^9 operations a second

// Ops of one layer besides those of KV segments: two norms, four linear layers, two RoPEs, append.
constexpr double kOpsPerLayer = 9;
constexpr double kOpsPerSegment = 2;  // partial and merge
constexpr double kDraftOpsPerLayer = 18;
constexpr double kOpsPerSelection = 3;
// Of the chunks that a selection holds, those that the one before did not: measured on the demo target, 28K tokens, a
// budget of 2800 (docs/speculation.md).
constexpr double kNewChunks = 0.36;
// Of the read rate, what retrieval passes reach, whose tiles of 1 or 2 KiB lie here and there: 16 to 20 of 34 GB/s
// (demo target, a budget of 2,800 tokens, AMD EPYC).
constexpr double kTileRead = 0.5;
// On a GPU tiles are read by whole sectors, many at a time; taken to be a little below whole blocks, and not measured.
constexpr double kGpuTileRead = 0.85;
// The same of attention to whole blocks: 28 of 34 GB/s (one row, 28,672 tokens x 4 heads of 64, two threads).
constexpr double kBlockRead = 0.85;
// On an H100 94 to 97 % (1 to 5 rows, 130,048 tokens x 32 heads, docs/gpu.md).
constexpr double kGpuBlockRead = 0.95;
// Of prefill attention's rate, what attention of a verify pass' rows reaches: 147 of 128 GFLOP/s (16 rows, the same).
constexpr double kFewRows = 1.15;
// Reading and arithmetic run side by side, but not quite: so many powers of both are added. One layer of the demo
// target behind 28,672 tokens, 1 to 8 rows: .83 1.03 1.05 1.11 1.20 1.30 1.56 1.75 ms measured (tools/bench:ops, AMD
// EPYC), .83 .86 .92 1.03 1.16 1.32 1.49 1.67 by this; the longer of both would be .83 .83 .83 .83 1.00 1.20 1.40 1.60.
constexpr double kSideBySide = 3;
constexpr double kOpsPerPass = 8;  // embedding, RoPE's table, final norm, lm_head, the sampler's

class Times {
 public:
  explicit Times(const Plan& plan) : plan_(plan), input_(plan.input), rates_(plan.input.rates) {
    link_gbps_ = rates_.link_to_device_gbps;
    to_host_gbps_ = rates_.link_to_host_gbps;
    if (input_.link_gbps > 0) {  // one lane copies both ways
      link_gbps_ = std::min(link_gbps_, input_.link_gbps);
      to_host_gbps_ = std::min(to_host_gbps_, input_.link_gbps);
    }
    layer_parameters_ = 0;
    for (const LayerPlan& layer : plan.layers) {
      for (const MatrixPlan& m : layer.matrices) {
        weight_bytes_ += static_cast<double>(m.panels * m.panel_bytes);
        layer_parameters_ +=
            static_cast<double>(m.panels * m.panel_bytes) / static_cast<double>(SizeOf(plan.shard.weight_type));
      }
    }
    weight_bytes_ += static_cast<double>(LmHeadPanelSizes(plan.shard).bytes());
    prompt_ = static_cast<double>(std::max<int64_t>(1, input_.context_tokens - input_.predict_tokens));
  }

  PlanTimes Predict() const {
    PlanTimes t;
    // Each device has a link of its own; they share the disk.
    t.decode_link_ms = Ms(plan_.StreamedBytesPerPass(), link_gbps_);
    t.decode_disk_ms =
        plan_.DiskBytesPerPass() == 0 ? 0 : Ms(input_.devices * plan_.DiskBytesPerPass(), rates_.disk_read_gbps);
    t.decode_compute_ms = ComputeMs(1, KvBytes(prompt_), StreamedSlots(), BlockRead());
    t.decode_ms = Overlapped(std::max(t.decode_link_ms, t.decode_disk_ms), t.decode_compute_ms);
    const int64_t gamma = input_.options.gamma, budget = input_.options.budget_tokens;
    t.verify_compute_ms = ComputeMs(gamma + 1, KvBytes(prompt_), StreamedSlots(), BlockRead());
    t.verify_ms = Overlapped(std::max(t.decode_link_ms, t.decode_disk_ms), t.verify_compute_ms);
    if (budget > 0) {
      const double tokens = std::min(static_cast<double>(budget), prompt_);
      t.retrieval_pass_ms = Overlapped(
          Ms(StreamedWeightBytes(), link_gbps_),
          ComputeMs(input_.options.draft_gamma + 1, KvBytes(tokens), 0, input_.cpu_device ? kTileRead : kGpuTileRead));
      t.reselect_ms = ReselectMs(tokens);
    }
    if (input_.draft) t.draft_pass_ms = DraftMs();
    t.prefill_ms = PrefillMs();
    return t;
  }

 private:
  static double Ms(double bytes, double gbps) { return bytes / (gbps * kBytesPerMsPerGbps); }

  // Of one pass, all sequences: the KV of `tokens` tokens.
  double KvBytes(double tokens) const {
    return static_cast<double>(input_.batch * plan_.shard.KvBytesPerToken(input_.kv_type)) * tokens;
  }

  double BlockRead() const { return input_.cpu_device ? kBlockRead : kGpuBlockRead; }

  double StreamedSlots() const {
    if (plan_.ring.slots == 0) return 0;
    return std::ceil(static_cast<double>(plan_.StreamedBytesPerPass()) / static_cast<double>(plan_.ring.slot_bytes));
  }

  // Both at once, by the slower of them and a little more.
  static double SideBySide(double a_ms, double b_ms) {
    const double longer = std::max(a_ms, b_ms);
    if (longer == 0) return 0;
    return longer * std::pow(1 + std::pow(std::min(a_ms, b_ms) / longer, kSideBySide), 1 / kSideBySide);
  }

  // Weights and KV are read once whatever the rows; beside that the rows multiply. KV is read at `kv_rate` of the
  // device's rate.
  double ComputeMs(int64_t rows, double kv_bytes, double slots, double kv_rate) const {
    const double all_rows = static_cast<double>(rows * input_.batch);
    const double group = static_cast<double>(plan_.shard.heads) / static_cast<double>(plan_.shard.kv_heads);
    const double flops = 2 * all_rows * weight_bytes_ / static_cast<double>(SizeOf(plan_.shard.weight_type));
    const double attention_flops = 2 * static_cast<double>(rows) * group * kv_bytes / SizeOf(input_.kv_type);
    const double linear_ms =
        SideBySide(Ms(weight_bytes_, rates_.device_read_gbps), flops / (rates_.matmul_gflops * kFlopsPerMsPerGflops));
    const double attention_ms =
        SideBySide(Ms(kv_bytes, kv_rate * rates_.device_read_gbps),
                   attention_flops / (kFewRows * rates_.attention_gflops * kFlopsPerMsPerGflops));
    const double layers = static_cast<double>(plan_.shard.layers);
    const double ops = layers * (kOpsPerLayer + 2 * kOpsPerSegment * static_cast<double>(input_.batch)) +
                       kOpsPerSegment * slots + kOpsPerPass;
    const double all_reduce_ms = input_.devices > 1 ? 2 * layers * rates_.all_reduce_us * 1e-3 : 0;
    return linear_ms + attention_ms + ops * rates_.op_us * 1e-3 + all_reduce_ms;
  }

  double StreamedWeightBytes() const {
    int64_t bytes = 0;
    for (const LayerPlan& layer : plan_.layers) bytes += layer.StreamedWeightBytes();
    return static_cast<double>(bytes);
  }

  // All means are read and multiplied with the queries that choose; of the chosen chunks some are new, and some of
  // these are streamed.
  double ReselectMs(double budget) const {
    const ModelShape& s = plan_.shard;
    const double chunk = static_cast<double>(input_.options.chunk_tokens);
    const double products = kScoredRows * static_cast<double>(s.layers * s.q_features()) * prompt_ / chunk;
    const double scores_ms =
        std::max(Ms(KvBytes(prompt_ / 2 / chunk), rates_.device_read_gbps),
                 2 * static_cast<double>(input_.batch) * products / (rates_.attention_gflops * kFlopsPerMsPerGflops));
    int64_t resident = 0, stored = 0;
    for (const LayerPlan& layer : plan_.layers) {
      resident += std::min(layer.kv.resident, plan_.prompt_blocks());
      stored += plan_.prompt_blocks();
    }
    const double streamed = stored == 0 ? 0 : 1 - static_cast<double>(resident) / static_cast<double>(stored);
    return scores_ms + Ms(kNewChunks * streamed * KvBytes(budget), link_gbps_) +
           kOpsPerSelection * static_cast<double>(s.layers) * rates_.op_us * 1e-3;
  }

  double DraftMs() const {
    const ModelShape& s = input_.draft->shape;
    double bytes = static_cast<double>(LmHeadPanelSizes(s).bytes());
    for (const LayerMatrix m : kLayerMatrixOrder) bytes += static_cast<double>(s.layers * PanelSizesOf(s, m).bytes());
    // Keys and values of its cache are read twice and written once.
    bytes += 3 * static_cast<double>(input_.draft->cache_tokens) * static_cast<double>(s.KvBytesPerToken(DType::kF32));
    const double ops = kDraftOpsPerLayer * static_cast<double>(s.layers) + kOpsPerPass;
    return static_cast<double>(input_.batch) * (Ms(bytes, rates_.device_read_gbps) + ops * rates_.op_us * 1e-3);
  }

  // Transfers and computing side by side: whichever takes longer, computing slowed down while transfers go on.
  double Overlapped(double transfer_ms, double compute_ms) const {
    const double busy = std::min(1.0, link_gbps_ / rates_.link_to_device_gbps);
    const double share = 1 - (1 - rates_.compute_share_copying) * busy;
    const double meanwhile_ms = share * transfer_ms;
    return compute_ms <= meanwhile_ms ? transfer_ms : transfer_ms + compute_ms - meanwhile_ms;
  }

  // Layer-major: computing runs beside weights and hidden states; storing a layer's KV away follows it.
  double PrefillMs() const {
    const ModelShape& s = plan_.shard;
    const double layers = static_cast<double>(s.layers), heads = static_cast<double>(s.heads);
    const double linear_ms = 2 * layer_parameters_ * prompt_ / (rates_.matmul_gflops * kFlopsPerMsPerGflops);
    const double attention_flops = layers * heads * static_cast<double>(s.head_dim) * 2 * prompt_ * prompt_;
    const double attention_ms = attention_flops / (rates_.attention_gflops * kFlopsPerMsPerGflops);
    const double hidden_bytes = prompt_ * static_cast<double>(s.hidden) * 4;
    double weights = 0, stored = 0;
    for (const LayerPlan& layer : plan_.layers) {
      weights += static_cast<double>(layer.StreamedWeightBytes());
      stored += static_cast<double>(s.kv_heads * plan_.kv_block_bytes() *
                                    std::max<int64_t>(0, plan_.prompt_blocks() - layer.kv.resident));
    }
    double transfer_ms = Ms(weights, link_gbps_);
    if (!plan_.hidden_on_device) {
      transfer_ms += layers * (Ms(hidden_bytes, link_gbps_) + Ms(hidden_bytes, to_host_gbps_));
    }
    double store_ms = Ms(stored, to_host_gbps_);
    if (plan_.ring.staging_slots > 0)
      store_ms += Ms(static_cast<double>(input_.devices * DiskKvBytes()), rates_.disk_write_gbps);
    return static_cast<double>(input_.batch) * (std::max(linear_ms + attention_ms, transfer_ms) + store_ms);
  }

  int64_t DiskKvBytes() const {
    int64_t blocks = 0;
    for (const LayerPlan& layer : plan_.layers) {
      blocks += std::max<int64_t>(0, plan_.prompt_blocks() - layer.kv.resident - layer.kv.host);
    }
    return blocks * plan_.shard.kv_heads * plan_.kv_block_bytes();
  }

  const Plan& plan_;
  const PlanInput& input_;
  const Rates& rates_;
  double link_gbps_ = 0;  // to the device
  double to_host_gbps_ = 0;
  double weight_bytes_ = 0;
  double layer_parameters_ = 0;
  double prompt_ = 0;  // tokens
};

}  // namespace

PlanTimes PredictTimes(const Plan& plan) { return Times(plan).Predict(); }

}  // namespace triforce
