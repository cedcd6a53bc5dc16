// WeightStore: the layers' linear weights in the places that the plan has for them.
//
// Each matrix is a row of panels (kernels/ops/linear.h): the first resident, the next on the host, the last on disk.
// Filling them is the loader's (runtime/load_weights.h). Device, pool and tier outlive it.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "kernels/core/arena.h"
#include "kernels/core/device.h"
#include "offload/disk_tier.h"
#include "offload/host_pool.h"
#include "offload/plan.h"
#include "offload/transfer.h"

namespace triforce {

// A run of panels that is streamed in one piece.
struct StreamedPanels {
  int64_t first_panel = 0;
  int64_t panels = 0;
  Transfer transfer;
};

class WeightStore {
 public:
  // Throws Error. `disk` may be null where the plan has nothing on disk.
  WeightStore(Device& device, HostPool& host, DiskTier* disk, const Plan& plan);

  // [MatrixPlan::resident, in_features, kPanelWidth]
  const TensorView& Resident(int64_t layer, LayerMatrix matrix) const { return Of(layer, matrix).resident; }
  // Runs of panels, each fitting a slot, in their order.
  std::span<const StreamedPanels> Streamed(int64_t layer, LayerMatrix matrix) const {
    return Of(layer, matrix).streamed;
  }
  // Panels of that matrix that lie elsewhere, at `data`.
  TensorView PanelsAt(std::byte* data, LayerMatrix matrix, int64_t panels) const;

 private:
  struct Matrix {
    TensorView resident;
    std::vector<StreamedPanels> streamed;
  };
  const Matrix& Of(int64_t layer, LayerMatrix matrix) const { return layers_[layer][static_cast<int>(matrix)]; }
  void Cut(Arena& arena);
  void PlaceStreamed(HostPool& host, DiskTier* disk, const MatrixPlan& plan, Matrix& matrix) const;

  Device& device_;
  const Plan& plan_;
  Arena arena_;
  std::vector<std::array<Matrix, kLayerMatrices>> layers_;
};

}  // namespace triforce
