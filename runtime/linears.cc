#include "runtime/linears.h"

#include <algorithm>

#include "kernels/core/device.h"
#include "kernels/ops/linear.h"

namespace triforce {
namespace {

LayerMatrix MatrixOf(LlamaLinear which) { return static_cast<LayerMatrix>(static_cast<int>(which)); }
static_assert(static_cast<int>(LlamaLinear::kDown) == static_cast<int>(LayerMatrix::kDown));

const LinearWeight& WeightOf(const LlamaLayerWeights& layer, LlamaLinear which) {
  switch (which) {
    case LlamaLinear::kQkv:
      return layer.qkv;
    case LlamaLinear::kAttentionOut:
      return layer.attention_out;
    case LlamaLinear::kGateUp:
      return layer.gate_up;
    case LlamaLinear::kDown:
      return layer.down;
  }
  TF_CHECK(false);
}

// Applies panels from `first` on, which lie at `panels`.
void ApplyPanels(Lane& lane, const LinearWeight& weight, int64_t first, const TensorView& panels,
                 const LinearRows& rows) {
  if (panels.dim(0) == 0) return;
  const LinearPart part = PartOf(weight, first, panels);
  const auto columns = [&](const TensorView& t) {
    return t ? t.Slice(1, part.first_feature, part.first_feature + part.weight.out_features) : t;
  };
  Linear(lane, {.x = rows.x, .weight = part.weight, .residual = columns(rows.residual), .out = columns(rows.out)});
}

}  // namespace

void StreamedLinears::Apply(Lane& lane, int64_t layer, LlamaLinear which, const LinearRows& rows) {
  const LinearWeight& weight = WeightOf(weights_.llama().layers[layer], which);
  ApplyPanels(lane, weight, 0, weight.panels, rows);
  for (const StreamedPanels& run : weights_.store().Streamed(layer, MatrixOf(which))) {
    const SlotLease slot = ring_->Next(lane);
    ApplyPanels(lane, weight, run.first_panel, weights_.store().PanelsAt(slot.data(), MatrixOf(which), run.panels),
                rows);
  }
}

PrefillLinears::PrefillLinears(Device& device, Link& link, const Weights& weights, const Plan& plan)
    : link_(link), weights_(weights), layers_(plan.layers.size()) {
  int64_t most = 0;
  for (size_t layer = 0; layer < layers_.size(); ++layer) {
    Loads& loads = layers_[layer];
    int64_t offset = 0;
    for (const LayerMatrix m : kLayerMatrixOrder) {
      const int i = static_cast<int>(m);
      loads.matrix_offset[i] = offset;
      loads.first_panel[i] = plan.layers[layer].matrix(m).resident;
      loads.panels[i] = plan.layers[layer].matrix(m).streamed();
      for (const StreamedPanels& run : weights.store().Streamed(static_cast<int64_t>(layer), m)) {
        loads.transfers.emplace_back(run.transfer, offset);
        offset += run.transfer.bytes;
      }
      offset = (offset + Arena::kAlignmentBytes - 1) / Arena::kAlignmentBytes * Arena::kAlignmentBytes;
    }
    most = std::max(most, offset);
  }
  if (most == 0) return;
  for (LayerBuffer& buffer : buffers_) {
    buffer = {device.Allocate(most, "the streamed weights of a layer"), device.NewEvent(), device.NewEvent()};
  }
}

void PrefillLinears::Load(int64_t layer, int64_t part, int64_t parts) {
  const Loads& loads = layers_[layer];
  const int64_t count = static_cast<int64_t>(loads.transfers.size());
  if (count == 0) return;
  LayerBuffer& buffer = BufferOf(layer);
  if (part == 0) link_.lane().WaitFor(*buffer.released);
  for (int64_t i = count * part / parts; i < count * (part + 1) / parts; ++i) {
    const auto& [transfer, offset] = loads.transfers[i];
    link_.ToDevice(transfer, buffer.memory.data() + offset);
  }
  if (part + 1 == parts) link_.lane().Record(*buffer.loaded);
}

void PrefillLinears::Acquire(Lane& compute, int64_t layer) {
  if (!layers_[layer].transfers.empty()) compute.WaitFor(*BufferOf(layer).loaded);
}

void PrefillLinears::Release(Lane& compute, int64_t layer) {
  if (!layers_[layer].transfers.empty()) compute.Record(*BufferOf(layer).released);
}

void PrefillLinears::Apply(Lane& lane, int64_t layer, LlamaLinear which, const LinearRows& rows) {
  const LinearWeight& weight = WeightOf(weights_.llama().layers[layer], which);
  ApplyPanels(lane, weight, 0, weight.panels, rows);
  const Loads& loads = layers_[layer];
  const int i = static_cast<int>(which);
  if (loads.panels[i] == 0) return;
  ApplyPanels(lane, weight, loads.first_panel[i],
              weights_.store().PanelsAt(BufferOf(layer).memory.data() + loads.matrix_offset[i], MatrixOf(which),
                                        loads.panels[i]),
              rows);
}

void AppendWeightTransfers(const WeightStore& store, int64_t layer, std::span<const LayerMatrix> matrices,
                           std::vector<Transfer>& transfers) {
  for (const LayerMatrix matrix : matrices) {
    for (const StreamedPanels& run : store.Streamed(layer, matrix)) transfers.push_back(run.transfer);
  }
}

}  // namespace triforce
