#include "offload/placement.h"

#include <algorithm>
#include <limits>

#include "kernels/core/checked_int.h"
#include "kernels/ops/kv_view.h"
#include "offload/draft_plan.h"
#include "offload/plan_sizes.h"

namespace triforce {
namespace {

constexpr int64_t kEverything = std::numeric_limits<int64_t>::max();
constexpr int64_t kStagingSlots = 12;
// Of what a pass streams, the part that a ring holds at most: one in so many. Proposing takes a quarter of a pass' link
// time where all KV streams, and .38 of it where half does (docs/speculation.md).
constexpr int64_t kRingShare = 2;

// Which weights stay on the device first: the small ones of a layer, so that what streams is one long run.
constexpr std::array<LayerMatrix, kLayerMatrices> kResidentOrder = {LayerMatrix::kAttentionOut, LayerMatrix::kQkv,
                                                                    LayerMatrix::kDown, LayerMatrix::kGateUp};

int64_t Counted(CheckedInt bytes) { return bytes.Capped(kMostPlanBytes); }

class Planner {
 public:
  Planner(const PlanInput& input, Plan& plan) : input_(input), plan_(plan) {
    plan_.input = input;
    plan_.shard = ShardOf(input.shape, input.devices);
    block_bytes_ = KvBlockBytes(plan_.shard, input.kv_type);
    stored_blocks_ = KvBlocks(input.context_tokens) - 1;
    layer_block_bytes_ = Counted(CheckedInt(input.batch) * plan_.shard.kv_heads * block_bytes_);
    kv_bytes_ = Counted(CheckedInt(layer_block_bytes_) * stored_blocks_ * Layers());
    CheckedInt layer_weights = 0;
    for (const LayerMatrix m : kLayerMatrixOrder) layer_weights += PanelSizesOf(plan_.shard, m).bytes();
    weight_bytes_ = Counted(layer_weights * Layers());
  }

  std::optional<Shortage> Place() {
    // Everything below is a part of these, or one of the sizes that are counted up to as much: sums of a few fit.
    if (std::max(weight_bytes_, kv_bytes_) >= kMostPlanBytes) {
      if (input_.disk_bytes > 0) return Shortage{"disk memory", kMostPlanBytes, input_.disk_bytes};
      return Shortage{"host memory", kMostPlanBytes, input_.host_bytes};
    }
    std::optional<Shortage> least;
    // The fewest transfers first; what is spilled to the host makes room for what every pass reads.
    for (const auto& [hidden, embedding] : {std::pair{true, true}, {false, true}, {false, false}}) {
      const bool last = !hidden && !embedding;
      plan_.hidden_on_device = input_.options.hidden_on_device.value_or(hidden);
      plan_.embedding_on_device = input_.options.embedding_on_device.value_or(embedding);
      const std::optional<Shortage> device_shortage = PlaceOnDevice();
      if (!last && (device_shortage || !keeps_all_it_may_)) continue;
      const std::optional<Shortage> shortage = device_shortage ? device_shortage : PlaceOnHostAndDisk();
      if (!shortage) return std::nullopt;
      if (!least || (shortage->tier == least->tier && shortage->needed_bytes < least->needed_bytes)) least = shortage;
    }
    return least;
  }

 private:
  int64_t Layers() const { return plan_.shard.layers; }
  int64_t OfAllSequences(int64_t bytes) const { return Counted(CheckedInt(bytes) * input_.batch); }
  int64_t EmbeddingBytes() const {
    return Counted(CheckedInt(input_.shape.vocab) * input_.shape.hidden * SizeOf(input_.shape.embedding_type));
  }

  // Everything on the device that has to be there.
  int64_t FixedDeviceBytes() {
    const ModelShape& s = plan_.shard;
    std::vector<PlanItem>& items = plan_.device.items;
    items.clear();
    plan_.tail_blocks = TailBlocks(input_.context_tokens, input_.predict_tokens);
    plan_.activation_rows = input_.options.prefill_rows;
    plan_.partial_bytes = PartialBytes(input_, s);
    items.push_back({"norms and biases", SmallWeightBytes(s)});
    items.push_back({"lm_head", AlignedBytes(LmHeadPanelSizes(s).bytes())});
    if (plan_.embedding_on_device) items.push_back({"embedding", AlignedBytes(EmbeddingBytes())});
    items.push_back({"activations", ActivationBytes(input_, s, plan_.embedding_on_device)});
    items.push_back({"attention partials", plan_.partial_bytes});
    if (plan_.hidden_on_device) items.push_back({"hidden states", HiddenBytes(input_)});
    items.push_back({"prefill KV", PrefillKvBytes(input_, s)});
    items.push_back({"chunk ranks", ChunkRankBytes(input_, s)});
    items.push_back({"sampling", SamplingBytes(input_)});
    if (!input_.cpu_device) items.push_back({"kernels' memory", kCudaLaneBytes});
    if (input_.draft) items.push_back({"draft", DraftBytes(input_)});
    items.push_back({"tail KV", Counted(CheckedInt(Layers()) * plan_.tail_blocks * layer_block_bytes_)});
    if (input_.options.budget_tokens > 0) AddRetrieval(items);
    // Of one sequence alone, on a device that captures.
    if (!input_.cpu_device && input_.batch == 1 && (input_.draft || input_.options.budget_tokens > 0)) {
      items.push_back({"rounds on the device", DeviceRoundBytes(input_)});
    }
    return plan_.device.used_bytes();
  }

  void AddRetrieval(std::vector<PlanItem>& items) const {
    items.push_back({"chunk means", OfAllSequences(ChunkMeanBytes(input_, plan_.shard))});
    items.push_back({"retrieval lists", OfAllSequences(RetrievalListBytes(input_, plan_.shard))});
  }

  // Where anything streams, KV may, and the retrieval cache needs room for chunks of it.
  int64_t AddGuestPool() {
    if (input_.options.budget_tokens == 0) return 0;
    plan_.guest_blocks = GuestBlocks(input_);
    plan_.device.items.push_back({"guest pool", OfAllSequences(GuestPoolBytes(input_, plan_.shard))});
    return plan_.device.items.back().bytes;
  }

  std::optional<Shortage> PlaceOnDevice() {
    plan_.device.limit_bytes = input_.device_bytes;
    keeps_all_it_may_ = true;
    int64_t fixed = FixedDeviceBytes();
    plan_.guest_blocks = 0;
    plan_.layers.assign(Layers(), LayerPlan());
    for (LayerPlan& layer : plan_.layers) {
      for (const LayerMatrix m : kLayerMatrixOrder) {
        const PanelSizes sizes = PanelSizesOf(plan_.shard, m);
        layer.matrices[static_cast<int>(m)] = {.panels = sizes.panels, .panel_bytes = sizes.panel_bytes};
      }
    }
    const int64_t weight_cap = input_.options.resident_weight_bytes.value_or(kEverything);
    const int64_t kv_cap = input_.options.resident_kv_bytes.value_or(kEverything);
    const int64_t weights = std::min(weight_cap, weight_bytes_);
    const int64_t kv = std::min(kv_cap, kv_bytes_);
    const bool may_stream_nothing = weights == weight_bytes_ && kv == kv_bytes_;
    plan_.ring = {};
    if (may_stream_nothing && fixed + ResidentBytes(weights, kv) <= input_.device_bytes) {
      KeepWeights(weights);
      KeepKv(kv);
      return AddPlacedItems();
    }
    ChooseRing();
    fixed += AddGuestPool();
    const int64_t free = input_.device_bytes - fixed - plan_.ring.slots * plan_.ring.slot_bytes;
    if (free < 0) return Shortage{"device memory", input_.device_bytes - free, input_.device_bytes};
    if (const auto shortage = ChooseWeights(free, weights)) return shortage;
    KeepKv(std::min(kv, free - WeightArenaBytes()));
    DeepenRing(free - WeightArenaBytes() - ResidentKvBytes());
    keeps_all_it_may_ = ResidentKvBytes() + layer_block_bytes_ > kv && ResidentWeightBytes() + LargestPanel() > weights;
    return AddPlacedItems();
  }

  void ChooseRing() {
    const int64_t wanted = input_.options.slot_bytes.value_or(DefaultSlotBytes(input_.cpu_device));
    // A slot holds at least a block and a panel.
    plan_.ring.slot_bytes = HostAligned(std::max({wanted, block_bytes_, LargestPanel()}));
    plan_.ring.slots = input_.options.slots.value_or(kDefaultSlots);
  }

  // While tokens are proposed the link goes on as far as the ring has room: what nothing else wants is taken for that.
  // Not where weights stream, which proposing takes through the ring.
  void DeepenRing(int64_t free) {
    if (input_.options.most_gamma == 0 || !input_.options.pipeline || input_.options.slots || StreamedWeights() > 0)
      return;
    const int64_t most = StreamedKv() / kRingShare / plan_.ring.slot_bytes;
    plan_.ring.slots +=
        std::clamp<int64_t>(most - plan_.ring.slots, 0, std::max<int64_t>(0, free) / plan_.ring.slot_bytes);
  }

  int64_t LargestPanel() const {
    int64_t largest = 0;
    for (const LayerMatrix m : kLayerMatrixOrder) {
      largest = std::max(largest, PanelSizesOf(plan_.shard, m).panel_bytes);
    }
    return largest;
  }

  int64_t ResidentBytes(int64_t weights, int64_t kv) const {
    // Each matrix is aligned on its own.
    return weights + Layers() * kLayerMatrices * AlignedBytes(1) + kv;
  }
  int64_t ResidentWeightBytes() const {
    int64_t bytes = 0;
    for (const LayerPlan& layer : plan_.layers) {
      for (const MatrixPlan& m : layer.matrices) bytes += m.resident * m.panel_bytes;
    }
    return bytes;
  }
  int64_t ResidentKvBytes() const {
    int64_t blocks = 0;
    for (const LayerPlan& layer : plan_.layers) blocks += layer.kv.resident;
    return blocks * layer_block_bytes_;
  }
  // Resident weights and, twice, the streamed ones of the layer that has most: prefill works on one layer whole, while
  // the next arrives.
  int64_t WeightArenaBytes() const {
    int64_t streamed = 0;
    for (const LayerPlan& layer : plan_.layers) streamed = std::max(streamed, layer.StreamedWeightBytes());
    const int64_t matrices = Layers() * kLayerMatrices * AlignedBytes(1);
    return ResidentWeightBytes() + matrices + (streamed == 0 ? 0 : 2 * (streamed + kLayerMatrices * AlignedBytes(1)));
  }

  // Keeps the first panels, in kResidentOrder, that `bytes` hold: as many in every layer, one more in the first ones.
  void KeepWeights(int64_t bytes) {
    for (LayerPlan& layer : plan_.layers) {
      for (MatrixPlan& m : layer.matrices) m.resident = 0;
    }
    for (const LayerMatrix m : kResidentOrder) {
      const MatrixPlan& sizes = plan_.layers[0].matrix(m);
      const int64_t units = std::min(bytes / sizes.panel_bytes, sizes.panels * Layers());
      Spread(units, [m](LayerPlan& layer) -> int64_t& { return layer.matrices[static_cast<int>(m)].resident; });
      bytes -= units * sizes.panel_bytes;
      if (units < sizes.panels * Layers()) return;  // what follows would split another matrix
    }
  }

  void KeepKv(int64_t bytes) {
    Spread(std::min(bytes / layer_block_bytes_, stored_blocks_ * Layers()),
           [](LayerPlan& layer) -> int64_t& { return layer.kv.resident; });
  }

  // As many units to every layer, one more to the first ones.
  template <typename CountOf>
  void Spread(int64_t units, const CountOf& count_of) {
    units = std::max<int64_t>(0, units);
    for (int64_t i = 0; i < Layers(); ++i)
      count_of(plan_.layers[i]) = units / Layers() + (i < units % Layers() ? 1 : 0);
  }

  // The most weights, up to `most` bytes, that leave room for prefill's buffers.
  std::optional<Shortage> ChooseWeights(int64_t free, int64_t most) {
    KeepWeights(most);
    if (WeightArenaBytes() <= free) return std::nullopt;  // perhaps all, which need no buffers
    int64_t low = 0, high = most;                         // KeepWeights(low) fits, if anything else does
    while (low < high) {
      const int64_t middle = low + (high - low + 1) / 2;
      KeepWeights(middle);
      WeightArenaBytes() <= free ? low = middle : high = middle - 1;
    }
    KeepWeights(low);
    if (WeightArenaBytes() <= free) return std::nullopt;
    return Shortage{"device memory", input_.device_bytes - free + WeightArenaBytes(), input_.device_bytes};
  }

  std::optional<Shortage> AddPlacedItems() {
    if (ResidentWeightBytes() > 0) {
      plan_.device.items.push_back(
          {"resident weights", ResidentWeightBytes() + Layers() * kLayerMatrices * AlignedBytes(1)});
    }
    const int64_t buffers = WeightArenaBytes() - ResidentWeightBytes() - Layers() * kLayerMatrices * AlignedBytes(1);
    if (buffers > 0) plan_.device.items.push_back({"weights of two layers", buffers});
    if (plan_.ring.slots > 0) plan_.device.items.push_back({"ring", plan_.ring.slots * plan_.ring.slot_bytes});
    plan_.device.items.push_back({"resident KV", ResidentKvBytes()});
    if (plan_.device.used_bytes() <= input_.device_bytes) return std::nullopt;
    return Shortage{"device memory", plan_.device.used_bytes(), input_.device_bytes};
  }

  std::optional<Shortage> PlaceOnHostAndDisk() {
    int64_t fixed = 0;
    plan_.host = {.limit_bytes = input_.host_bytes};
    plan_.disk = {.limit_bytes = input_.disk_bytes};
    const auto add = [&](const char* name, int64_t bytes) {
      if (bytes == 0) return;
      plan_.host.items.push_back({name, bytes});
      fixed += bytes;
    };
    const ModelShape& s = input_.shape;
    if (!plan_.embedding_on_device) add("embedding", HostAligned(EmbeddingBytes()));
    if (!plan_.hidden_on_device) add("hidden states", HostAligned(HiddenBytes(input_)));
    if (!plan_.embedding_on_device) {
      add("embedding rows", HostAligned(plan_.activation_rows * s.hidden * SizeOf(s.embedding_type)));
    }
    const int64_t streamed = input_.devices * (StreamedWeights() + StreamedKv());
    bool fits = SpreadOverHost(input_.host_bytes - fixed);
    plan_.stages_host =
        streamed > 0 && input_.host_bytes > 0 &&
        std::min(fixed + streamed, input_.host_bytes) > input_.options.pinned_bytes.value_or(kEverything);
    if (plan_.stages_host || (!fits && input_.disk_bytes > 0)) {
      add("staging", kStagingSlots * plan_.ring.slot_bytes * input_.devices);
      plan_.ring.staging_slots = kStagingSlots;
      fits = SpreadOverHost(input_.host_bytes - fixed);
    }
    if (!fits && input_.disk_bytes == 0) return ShortageWithoutDisk(fixed, streamed);
    if (fixed > input_.host_bytes) return Shortage{"host memory", fixed, input_.host_bytes};
    return AddHostAndDiskItems();
  }

  // What may not lie on the host has nowhere to go; otherwise the host has too few bytes.
  std::optional<Shortage> ShortageWithoutDisk(int64_t fixed, int64_t streamed) {
    SpreadOverHost(std::numeric_limits<int64_t>::max());
    int64_t weights = 0, kv = 0;
    for (const LayerPlan& layer : plan_.layers) {
      for (const MatrixPlan& m : layer.matrices) weights += m.disk() * m.panel_bytes;
      kv += layer.kv.disk * layer_block_bytes_;
    }
    if (weights + kv == 0) return Shortage{"host memory", fixed + streamed + HostPadding(), input_.host_bytes};
    const char* const flags = kv == 0 ? "--host-weights" : weights == 0 ? "--host-kv" : "--host-weights and --host-kv";
    return Shortage{"disk memory", input_.devices * (weights + kv), 0, flags};
  }

  static int64_t HostAligned(int64_t bytes) { return (bytes + 4095) / 4096 * 4096; }

  int64_t StreamedWeights() const {
    int64_t bytes = 0;
    for (const LayerPlan& layer : plan_.layers) bytes += layer.StreamedWeightBytes();
    return bytes;
  }
  int64_t StreamedKv() const { return kv_bytes_ - ResidentKvBytes(); }
  // Each run starts on a page of its own.
  int64_t HostPadding() const { return input_.devices * Layers() * (kLayerMatrices + input_.batch) * 4096; }

  // Places streamed weights, then streamed KV, in `bytes` of the host; false where some are left for the disk.
  bool SpreadOverHost(int64_t bytes) {
    int64_t left = std::max<int64_t>(0, bytes - HostPadding()) / input_.devices;
    int64_t weights = std::min(left, input_.options.host_weight_bytes.value_or(kEverything));
    bool all = bytes >= 0;
    for (const LayerMatrix m : kResidentOrder) {
      for (LayerPlan& layer : plan_.layers) {
        MatrixPlan& matrix = layer.matrices[static_cast<int>(m)];
        matrix.host = std::min(matrix.streamed(), weights / matrix.panel_bytes);
        weights -= matrix.host * matrix.panel_bytes;
        left -= matrix.host * matrix.panel_bytes;
        all = all && matrix.disk() == 0;
      }
    }
    int64_t units = std::min(left, input_.options.host_kv_bytes.value_or(kEverything)) / layer_block_bytes_;
    for (int64_t i = 0; i < Layers(); ++i) {
      KvPlan& kv = plan_.layers[i].kv;
      kv.host = std::min(stored_blocks_ - kv.resident, (units + Layers() - i - 1) / (Layers() - i));
      kv.disk = stored_blocks_ - kv.resident - kv.host;
      units -= kv.host;
      all = all && kv.disk == 0;
    }
    return all;
  }

  std::optional<Shortage> AddHostAndDiskItems() {
    int64_t host_weights = 0, disk_weights = 0, host_kv = 0, disk_kv = 0;
    for (const LayerPlan& layer : plan_.layers) {
      for (const MatrixPlan& m : layer.matrices) {
        host_weights += HostAligned(m.host * m.panel_bytes);
        disk_weights += m.disk() * HostAligned(m.panel_bytes);
      }
      host_kv += input_.batch * HostAligned(plan_.shard.kv_heads * layer.kv.host * block_bytes_);
      disk_kv += layer.kv.disk * layer_block_bytes_;
    }
    const auto add = [&](TierPlan& tier, const char* name, int64_t bytes) {
      if (bytes > 0) tier.items.push_back({name, Counted(CheckedInt(bytes) * input_.devices)});
    };
    add(plan_.host, "streamed weights", host_weights);
    add(plan_.host, "streamed KV", host_kv);
    add(plan_.disk, "streamed weights", disk_weights);
    add(plan_.disk, "streamed KV", disk_kv);
    if (plan_.host.used_bytes() > input_.host_bytes) {
      return Shortage{"host memory", plan_.host.used_bytes(), input_.host_bytes};
    }
    if (plan_.disk.used_bytes() > input_.disk_bytes) {
      return Shortage{"disk memory", plan_.disk.used_bytes(), input_.disk_bytes};
    }
    return std::nullopt;
  }

  const PlanInput& input_;
  Plan& plan_;
  int64_t block_bytes_ = 0;
  int64_t stored_blocks_ = 0;      // per kv_head
  int64_t layer_block_bytes_ = 0;  // of one block of all kv_heads and sequences
  int64_t kv_bytes_ = 0;           // of all that is stored
  int64_t weight_bytes_ = 0;       // of the layers' linear weights, as panels
  bool keeps_all_it_may_ = true;
};

}  // namespace

std::optional<Shortage> Place(const PlanInput& input, Plan& plan) { return Planner(input, plan).Place(); }

}  // namespace triforce
