#include "runtime/load_weights.h"

#include <cstring>
#include <string>
#include <vector>

#include "kernels/core/error.h"
#include "models/rope_frequencies.h"
#include "runtime/weight_names.h"

namespace triforce {
namespace {

// A vector is kept in f32 whatever its type in the file.
TensorView CutVector(const Checkpoint& checkpoint, const std::string& name, int64_t elements, Arena& arena) {
  checkpoint.Require(name, {elements});
  return arena.Cut(DType::kF32, {elements});
}

// All of a linear weight but its panels.
LinearWeight CutLinear(const Checkpoint& checkpoint, const LinearSource& source, Arena& arena) {
  LinearWeight weight{.form = source.form, .in_features = source.in_features};
  for (const MatrixName& matrix : source.matrices) {
    checkpoint.Require(matrix.name + ".weight", {matrix.out_features, source.in_features});
    if (source.bias) checkpoint.Require(matrix.name + ".bias", {matrix.out_features});
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
  Filler(const Checkpoint& checkpoint, DiskTier* disk, Lane& lane, const std::function<void(int64_t)>& progress)
      : checkpoint_(checkpoint), disk_(disk), lane_(lane), progress_(progress) {}

  void Vector(const std::string& name, const TensorView& to, int64_t first = 0) {
    const TensorRecord& record = *checkpoint_.Find(name);
    std::vector<float> values(record.elements());
    WithFloatType(*record.dtype, [&]<typename T>(T value) {
      for (size_t i = 0; i < values.size(); ++i) {
        std::memcpy(&value, record.data.data() + i * sizeof(T), sizeof(T));  // the file may have it unaligned
        values[i] = ToF32(value);
      }
    });
    lane_.Copy(to.as<float>() + first, values.data(), static_cast<int64_t>(values.size() * sizeof(float)), "load");
    lane_.Synchronize();
    Count(record);
  }

  // `resident`: the first panels, on the device; `streamed`: those behind them.
  void Weight(const LinearSource& source, const LinearWeight& weight, const TensorView& resident,
              std::span<const StreamedPanels> streamed) {
    std::vector<std::vector<std::byte>> aligned;
    PackLinearArgs args{.form = source.form, .in_features = weight.in_features, .out_features = weight.out_features};
    const std::vector<TensorView> sources = Sources(source, aligned);
    args.sources = sources;
    if (resident.dim(0) > 0) Resident(resident, args);
    for (const StreamedPanels& run : streamed) {
      args.first_panel = run.first_panel;
      Streamed(run, args);
    }
    int64_t first = 0;
    for (const MatrixName& matrix : source.matrices) {
      Count(*checkpoint_.Find(matrix.name + ".weight"));
      if (source.bias) Vector(matrix.name + ".bias", weight.bias, first);
      first += matrix.out_features;
    }
  }

  void Table(const std::string& name, std::byte* to) {
    const TensorRecord& record = *checkpoint_.Find(name);
    lane_.Copy(to, record.data.data(), static_cast<int64_t>(record.data.size()), "load");
    lane_.Synchronize();
    Count(record);
  }

 private:
  // The matrices where they lie; copies, kept in `aligned`, of what lies unaligned in its file.
  std::vector<TensorView> Sources(const LinearSource& source, std::vector<std::vector<std::byte>>& aligned) const {
    std::vector<TensorView> views;
    for (const MatrixName& matrix : source.matrices) {
      const TensorRecord& record = *checkpoint_.Find(matrix.name + ".weight");
      const std::byte* data = record.data.data();
      if (reinterpret_cast<uintptr_t>(data) % SizeOf(*record.dtype) != 0) {
        aligned.emplace_back(record.data.begin(), record.data.end());
        data = aligned.back().data();
      }
      views.emplace_back(nullptr, const_cast<std::byte*>(data), *record.dtype,
                         std::initializer_list<int64_t>{matrix.out_features, source.in_features});
    }
    return views;
  }

  // Packs in place, or some panels at a time on the host, from where they are copied.
  void Resident(const TensorView& panels, PackLinearArgs args) {
    if (lane_.device().host_reaches_memory()) {
      args.panels = panels;
      return PackLinear(lane_, args);
    }
    constexpr int64_t kPiecePanels = 64;
    const int64_t panel_bytes = panels.bytes() / panels.dim(0);
    std::vector<std::byte> piece(std::min(kPiecePanels, panels.dim(0)) * panel_bytes);
    for (int64_t first = 0; first < panels.dim(0); first += kPiecePanels) {
      const int64_t count = std::min(kPiecePanels, panels.dim(0) - first);
      args.first_panel = first;
      args.panels = TensorView(nullptr, piece.data(), panels.dtype(), {count, args.in_features, kPanelWidth});
      PackLinear(lane_, args);
      lane_.Copy(panels.Slice(0, first, first + count).data(), piece.data(), count * panel_bytes, "load");
      lane_.Synchronize();
    }
  }

  void Streamed(const StreamedPanels& run, PackLinearArgs args) {
    const auto pack_at = [&](std::byte* data) {
      args.panels = TensorView(nullptr, data, args.sources[0].dtype(), {run.panels, args.in_features, kPanelWidth});
      PackLinear(lane_, args);
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

  void Count(const TensorRecord& record) {
    bytes_ += static_cast<int64_t>(record.data.size());
    if (progress_) progress_(bytes_);
  }

  const Checkpoint& checkpoint_;
  DiskTier* const disk_;
  Lane& lane_;
  const std::function<void(int64_t)>& progress_;
  int64_t bytes_ = 0;
};

}  // namespace

void Weights::Cut(const ModelConfig& config, const Checkpoint& checkpoint, const Plan& plan, Arena& arena) {
  llama_ = {};
  const DType embedding_type = *checkpoint.Require(EmbeddingName(), {config.vocab, config.hidden}).dtype;
  if (plan.embedding_on_device) llama_.embedding = arena.Cut(embedding_type, {config.vocab, config.hidden});
  llama_.inverse_frequency = arena.Cut(DType::kF32, {config.head_dim / 2});
  for (int64_t layer = 0; layer < config.layers; ++layer) {
    const LayerSources sources = SourcesOf(config, layer);
    LlamaLayerWeights& to = llama_.layers.emplace_back();
    to = {.attention_norm = CutVector(checkpoint, sources.attention_norm, config.hidden, arena),
          .qkv = CutLinear(checkpoint, sources.qkv, arena),
          .attention_out = CutLinear(checkpoint, sources.attention_out, arena),
          .mlp_norm = CutVector(checkpoint, sources.mlp_norm, config.hidden, arena),
          .gate_up = CutLinear(checkpoint, sources.gate_up, arena),
          .down = CutLinear(checkpoint, sources.down, arena)};
    to.qkv.panels = store_.Resident(layer, LayerMatrix::kQkv);
    to.attention_out.panels = store_.Resident(layer, LayerMatrix::kAttentionOut);
    to.gate_up.panels = store_.Resident(layer, LayerMatrix::kGateUp);
    to.down.panels = store_.Resident(layer, LayerMatrix::kDown);
  }
  llama_.final_norm = CutVector(checkpoint, FinalNormName(), config.hidden, arena);
  llama_.lm_head = CutLinear(checkpoint, LmHeadSource(config), arena);
  llama_.lm_head.panels =
      arena.Cut(plan.shard.lm_head_type, {LinearPanels(LinearForm::kPlain, config.vocab), config.hidden, kPanelWidth});
  llama_.rope_scaling = ComputeRopeFrequencies(config).scaling;
}

Weights::Weights(const ModelConfig& config, const Checkpoint& checkpoint, const Plan& plan, const WeightTiers& tiers,
                 Lane& lane, const std::function<void(int64_t bytes)>& progress)
    : store_(tiers.device, tiers.host, tiers.disk, plan) {
  Arena sizes;
  Cut(config, checkpoint, plan, sizes);
  arena_ = Arena(tiers.device, sizes.used_bytes(), "the weights");
  Cut(config, checkpoint, plan, arena_);
  if (!plan.embedding_on_device) {
    host_embedding_ =
        tiers.host.Cut(static_cast<int64_t>(checkpoint.Find(EmbeddingName())->data.size()), "the embedding");
  }
  Filler fill(checkpoint, tiers.disk, lane, progress);
  fill.Table(EmbeddingName(),
             plan.embedding_on_device ? static_cast<std::byte*>(llama_.embedding.data()) : host_embedding_.data());
  const RopeFrequencies rope = ComputeRopeFrequencies(config);
  lane.Copy(llama_.inverse_frequency.data(), rope.inverse.data(), llama_.inverse_frequency.bytes(), "load");
  lane.Synchronize();
  for (int64_t layer = 0; layer < config.layers; ++layer) {
    const LayerSources sources = SourcesOf(config, layer);
    const LlamaLayerWeights& to = llama_.layers[layer];
    const auto weight = [&](const LinearSource& source, const LinearWeight& linear, LayerMatrix matrix) {
      fill.Weight(source, linear, linear.panels, store_.Streamed(layer, matrix));
    };
    fill.Vector(sources.attention_norm, to.attention_norm);
    weight(sources.qkv, to.qkv, LayerMatrix::kQkv);
    weight(sources.attention_out, to.attention_out, LayerMatrix::kAttentionOut);
    fill.Vector(sources.mlp_norm, to.mlp_norm);
    weight(sources.gate_up, to.gate_up, LayerMatrix::kGateUp);
    weight(sources.down, to.down, LayerMatrix::kDown);
  }
  fill.Vector(FinalNormName(), llama_.final_norm);
  fill.Weight(LmHeadSource(config), llama_.lm_head, llama_.lm_head.panels, {});
}

}  // namespace triforce
