#include "offload/weight_store.h"

#include <algorithm>

#include "kernels/ops/linear.h"

namespace triforce {

WeightStore::WeightStore(Device& device, HostPool& host, DiskTier* disk, const Plan& plan)
    : device_(device), plan_(plan), layers_(plan.layers.size()) {
  Arena sizes;
  Cut(sizes);
  arena_ = Arena(device, sizes.used_bytes(), "the weights of the layers");
  Cut(arena_);
  for (size_t layer = 0; layer < layers_.size(); ++layer) {
    for (const LayerMatrix m : kLayerMatrixOrder) {
      PlaceStreamed(host, disk, plan.layers[layer].matrix(m), layers_[layer][static_cast<int>(m)]);
    }
  }
}

void WeightStore::Cut(Arena& arena) {
  for (size_t layer = 0; layer < layers_.size(); ++layer) {
    for (const LayerMatrix m : kLayerMatrixOrder) {
      const MatrixPlan& matrix = plan_.layers[layer].matrix(m);
      const int64_t in_features = matrix.panel_bytes / (kPanelWidth * SizeOf(plan_.shard.weight_type));
      layers_[layer][static_cast<int>(m)].resident =
          arena.Cut(plan_.shard.weight_type, {matrix.resident, in_features, kPanelWidth});
    }
  }
}

void WeightStore::PlaceStreamed(HostPool& host, DiskTier* disk, const MatrixPlan& plan, Matrix& matrix) const {
  if (plan.streamed() == 0) return;
  const int64_t most = plan_.ring.slot_bytes / plan.panel_bytes;
  std::byte* const on_host = host.Cut(plan.host * plan.panel_bytes, "the weights on the host").data();
  for (int64_t first = 0; first < plan.host; first += most) {
    const int64_t panels = std::min(most, plan.host - first);
    matrix.streamed.push_back({plan.resident + first,
                               panels,
                               {.purpose = Purpose::kWeights,
                                .bytes = panels * plan.panel_bytes,
                                .host = on_host + first * plan.panel_bytes}});
  }
  for (int64_t first = 0; first < plan.disk(); first += most) {
    const int64_t panels = std::min(most, plan.disk() - first);
    const int64_t bytes = panels * plan.panel_bytes;
    matrix.streamed.push_back(
        {plan.resident + plan.host + first,
         panels,
         {.purpose = Purpose::kWeights, .bytes = bytes, .disk_offset = disk->Allocate(bytes, "the weights on disk")}});
  }
}

TensorView WeightStore::PanelsAt(std::byte* data, LayerMatrix matrix, int64_t panels) const {
  const int64_t in_features =
      plan_.layers[0].matrix(matrix).panel_bytes / (kPanelWidth * SizeOf(plan_.shard.weight_type));
  return TensorView(&device_, data, plan_.shard.weight_type, {panels, in_features, kPanelWidth});
}

}  // namespace triforce
