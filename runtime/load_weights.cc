#include "runtime/load_weights.h"

#include <memory>
#include <new>
#include <string>
#include <vector>

#include "kernels/ops/linear.h"
#include "models/rope_frequencies.h"
#include "runtime/weight_names.h"

namespace triforce {
namespace {

// A vector is kept in f32 whatever its type in the source.
TensorView CutVector(const WeightSource& source, const std::string& name, int64_t elements, Arena& arena) {
  (void)source.TypeOf(name, {elements});
  return arena.Cut(DType::kF32, {elements});
}

// All of a linear weight but its panels.
LinearWeight CutLinear(const WeightSource& weights, const LinearSource& source, Arena& arena) {
  LinearWeight weight{.form = source.form, .in_features = source.in_features};
  for (const MatrixName& matrix : source.matrices) {
    (void)weights.TypeOf(matrix.name + ".weight", {matrix.out_features, source.in_features});
    if (source.bias) (void)weights.TypeOf(matrix.name + ".bias", {matrix.out_features});
    weight.out_features += matrix.out_features;
  }
  if (source.form == LinearForm::kGated) weight.out_features /= 2;
  if (source.bias) {
    weight.bias = arena.Cut(DType::kF32, {source.form == LinearForm::kGated ? 2 : 1, weight.out_features});
  }
  return weight;
}

class Filler {
 public:
  Filler(const WeightSource& weights, DiskTier* disk, Lane& lane, const std::function<void(int64_t)>& progress)
      : weights_(weights), disk_(disk), lane_(lane), progress_(progress) {}

  void Vector(const std::string& name, int64_t elements, const TensorView& to, int64_t first = 0) {
    const std::vector<float> values = weights_.Vector(name, elements);
    lane_.Copy(to.as<float>() + first, values.data(), static_cast<int64_t>(values.size() * sizeof(float)), "load");
    lane_.Synchronize();
    Count(elements * SizeOf(weights_.TypeOf(name, {elements})));
  }

  // `resident`: the first panels, on the device; `streamed`: those behind them.
  void Weight(const LinearSource& source, const LinearWeight& weight, const TensorView& resident,
              std::span<const StreamedPanels> streamed) {
    const std::unique_ptr<PanelSource> panels = weights_.Linear(source);
    const DType dtype =
        weights_.TypeOf(source.matrices[0].name + ".weight", {source.matrices[0].out_features, source.in_features});
    if (resident.dim(0) > 0) Resident(resident, *panels);
    for (const StreamedPanels& run : streamed) Streamed(run, dtype, weight.in_features, *panels);
    int64_t first = 0;
    for (const MatrixName& matrix : source.matrices) {
      Count(matrix.out_features * source.in_features * SizeOf(dtype));
      if (source.bias) Vector(matrix.name + ".bias", matrix.out_features, weight.bias, first);
      first += matrix.out_features;
    }
  }

  // `to`: bytes enough.
  void Embedding(std::byte* to) {
    weights_.Embedding([&](std::span<const std::byte> piece) {
      lane_.Copy(to, piece.data(), static_cast<int64_t>(piece.size()), "load");
      lane_.Synchronize();
      to += piece.size();
      Count(static_cast<int64_t>(piece.size()));
    });
  }

 private:
  // Packs in place, or some panels at a time on the host, from where they are copied.
  void Resident(const TensorView& panels, PanelSource& source) {
    if (lane_.device().host_reaches_memory()) return source.Pack(lane_, 0, panels);
    constexpr int64_t kPiecePanels = 64;
    const int64_t panel_bytes = panels.bytes() / panels.dim(0);
    std::vector<std::byte> piece(std::min(kPiecePanels, panels.dim(0)) * panel_bytes);
    for (int64_t first = 0; first < panels.dim(0); first += kPiecePanels) {
      const int64_t count = std::min(kPiecePanels, panels.dim(0) - first);
      source.Pack(lane_, first, TensorView(nullptr, piece.data(), panels.dtype(), {count, panels.dim(1), kPanelWidth}));
      lane_.Copy(panels.Slice(0, first, first + count).data(), piece.data(), count * panel_bytes, "load");
      lane_.Synchronize();
    }
  }

  void Streamed(const StreamedPanels& run, DType dtype, int64_t in_features, PanelSource& source) {
    const auto pack_at = [&](std::byte* data) {
      source.Pack(lane_, run.first_panel, TensorView(nullptr, data, dtype, {run.panels, in_features, kPanelWidth}));
    };
    if (run.transfer.host != nullptr) return pack_at(run.transfer.host);
    const int64_t pages = (run.transfer.bytes + DiskTier::kAlignmentBytes - 1) / DiskTier::kAlignmentBytes;
    std::unique_ptr<std::byte[], void (*)(std::byte*)> memory(
        new (std::align_val_t{DiskTier::kAlignmentBytes}) std::byte[pages * DiskTier::kAlignmentBytes],
        [](std::byte* p) { ::operator delete[](p, std::align_val_t{DiskTier::kAlignmentBytes}); });
    pack_at(memory.get());
    disk_->Finish(disk_->Start({.write = true,
                                .offset = run.transfer.disk_offset,
                                .memory = {memory.get(), static_cast<size_t>(pages * DiskTier::kAlignmentBytes)}}));
  }

  void Count(int64_t bytes) {
    bytes_ += bytes;
    if (progress_) progress_(bytes_);
  }

  const WeightSource& weights_;
  DiskTier* const disk_;
  Lane& lane_;
  const std::function<void(int64_t)>& progress_;
  int64_t bytes_ = 0;
};

}  // namespace

void Weights::Cut(const WeightSource& source, const Plan& plan, Arena& arena) {
  const ModelConfig& config = source.config();
  llama_ = {};
  const DType embedding_type = source.TypeOf(EmbeddingName(), {config.vocab, config.hidden});
  if (plan.embedding_on_device) llama_.embedding = arena.Cut(embedding_type, {config.vocab, config.hidden});
  llama_.inverse_frequency = arena.Cut(DType::kF32, {config.head_dim / 2});
  for (int64_t layer = 0; layer < config.layers; ++layer) {
    const LayerSources sources = SourcesOf(config, layer);
    LlamaLayerWeights& to = llama_.layers.emplace_back();
    to = {.attention_norm = CutVector(source, sources.attention_norm, config.hidden, arena),
          .qkv = CutLinear(source, sources.qkv, arena),
          .attention_out = CutLinear(source, sources.attention_out, arena),
          .mlp_norm = CutVector(source, sources.mlp_norm, config.hidden, arena),
          .gate_up = CutLinear(source, sources.gate_up, arena),
          .down = CutLinear(source, sources.down, arena)};
    to.qkv.panels = store_.Resident(layer, LayerMatrix::kQkv);
    to.attention_out.panels = store_.Resident(layer, LayerMatrix::kAttentionOut);
    to.gate_up.panels = store_.Resident(layer, LayerMatrix::kGateUp);
    to.down.panels = store_.Resident(layer, LayerMatrix::kDown);
  }
  llama_.final_norm = CutVector(source, FinalNormName(), config.hidden, arena);
  llama_.lm_head = CutLinear(source, LmHeadSource(config), arena);
  llama_.lm_head.panels =
      arena.Cut(plan.shard.lm_head_type, {LinearPanels(LinearForm::kPlain, config.vocab), config.hidden, kPanelWidth});
  llama_.rope_scaling = ComputeRopeFrequencies(config).scaling;
}

Weights::Weights(const WeightSource& source, const Plan& plan, const WeightTiers& tiers, Lane& lane,
                 const std::function<void(int64_t bytes)>& progress)
    : store_(tiers.device, tiers.host, tiers.disk, plan) {
  const ModelConfig& config = source.config();
  Arena sizes;
  Cut(source, plan, sizes);
  arena_ = Arena(tiers.device, sizes.used_bytes(), "the weights");
  Cut(source, plan, arena_);
  if (!plan.embedding_on_device) {
    const DType type = source.TypeOf(EmbeddingName(), {config.vocab, config.hidden});
    host_embedding_ = tiers.host.Cut(config.vocab * config.hidden * SizeOf(type), "the embedding");
  }
  Filler fill(source, tiers.disk, lane, progress);
  fill.Embedding(plan.embedding_on_device ? static_cast<std::byte*>(llama_.embedding.data()) : host_embedding_.data());
  const RopeFrequencies rope = ComputeRopeFrequencies(config);
  lane.Copy(llama_.inverse_frequency.data(), rope.inverse.data(), llama_.inverse_frequency.bytes(), "load");
  lane.Synchronize();
  for (int64_t layer = 0; layer < config.layers; ++layer) {
    const LayerSources sources = SourcesOf(config, layer);
    const LlamaLayerWeights& to = llama_.layers[layer];
    const auto weight = [&](const LinearSource& matrices, const LinearWeight& linear, LayerMatrix matrix) {
      fill.Weight(matrices, linear, linear.panels, store_.Streamed(layer, matrix));
    };
    fill.Vector(sources.attention_norm, config.hidden, to.attention_norm);
    weight(sources.qkv, to.qkv, LayerMatrix::kQkv);
    weight(sources.attention_out, to.attention_out, LayerMatrix::kAttentionOut);
    fill.Vector(sources.mlp_norm, config.hidden, to.mlp_norm);
    weight(sources.gate_up, to.gate_up, LayerMatrix::kGateUp);
    weight(sources.down, to.down, LayerMatrix::kDown);
  }
  fill.Vector(FinalNormName(), config.hidden, llama_.final_norm);
  fill.Weight(LmHeadSource(config), llama_.lm_head, llama_.lm_head.panels, {});
}

}  // namespace triforce
