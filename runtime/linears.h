// The linear layers of passes, with weights that are resident and weights that stream.
//
// StreamedLinears: for decoding; streamed panels come through the ring, in the order of the engine's schedule.
// PrefillLinears: for layer-major prefill; a layer's streamed panels come whole into one of two buffers, so that each
// crosses the link once, and the next layer's are on their way meanwhile.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "kernels/core/buffer.h"
#include "kernels/core/lane.h"
#include "models/llama.h"
#include "offload/ring.h"
#include "runtime/load_weights.h"

namespace triforce {

class StreamedLinears final : public LinearLayers {
 public:
  // `ring` may be null where nothing is streamed.
  StreamedLinears(const Weights& weights, Ring* ring) : weights_(weights), ring_(ring) {}
  void Apply(Lane& lane, int64_t layer, LlamaLinear which, const LinearRows& rows) override;

 private:
  const Weights& weights_;
  Ring* const ring_;
};

class PrefillLinears final : public LinearLayers {
 public:
  // Throws Error (kOutOfMemory).
  PrefillLinears(Device& device, Link& link, const Weights& weights, const Plan& plan);

  // Queues transfers of a layer's streamed panels: the share [part / parts, (part + 1) / parts) of them. They wait
  // until the layer two before has been released.
  void Load(int64_t layer, int64_t part, int64_t parts);
  // `compute` waits until the layer is loaded; then until Release, Apply is for this layer.
  void Acquire(Lane& compute, int64_t layer);
  void Release(Lane& compute, int64_t layer);

  void Apply(Lane& lane, int64_t layer, LlamaLinear which, const LinearRows& rows) override;

 private:
  struct Loads {
    std::vector<std::pair<Transfer, int64_t>> transfers;     // and where in the buffer they go
    std::array<int64_t, kLayerMatrices> matrix_offset = {};  // of the first streamed panel
    std::array<int64_t, kLayerMatrices> first_panel = {};
    std::array<int64_t, kLayerMatrices> panels = {};
  };
  struct LayerBuffer {
    Buffer memory;
    std::unique_ptr<Event> loaded, released;
  };

  LayerBuffer& BufferOf(int64_t layer) { return buffers_[layer % 2]; }

  Link& link_;
  const Weights& weights_;
  std::vector<Loads> layers_;
  std::array<LayerBuffer, 2> buffers_;
};

// What a decoding pass streams of the weights before and behind a layer's attention.
void AppendWeightTransfers(const WeightStore& store, int64_t layer, std::span<const LayerMatrix> matrices,
                           std::vector<Transfer>& transfers);

}  // namespace triforce
