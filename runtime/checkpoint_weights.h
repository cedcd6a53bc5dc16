// CheckpointWeights: the weights in the files of a Hugging Face model directory.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "models/checkpoint.h"
#include "runtime/weight_source.h"

namespace triforce {

class CheckpointWeights final : public WeightSource {
 public:
  // Reads config.json and the tensors' headers. Throws Error (kIo, kInvalidInput, kUnsupported).
  explicit CheckpointWeights(const std::string& directory);

  const ModelConfig& config() const override { return config_; }
  ModelShape shape() const override;
  int64_t bytes() const override { return checkpoint_.bytes(); }
  DType TypeOf(const std::string& name, const std::vector<int64_t>& shape) const override;
  std::vector<float> Vector(const std::string& name, int64_t elements) const override;
  void Embedding(const std::function<void(std::span<const std::byte> piece)>& take) const override;
  std::unique_ptr<PanelSource> Linear(const LinearSource& source) const override;

 private:
  const ModelConfig config_;
  const Checkpoint checkpoint_;
};

}  // namespace triforce
