// RandomWeights: weights of a shape, made up as they are asked for: for bytes and times without a checkpoint.
//
// f16 numbers, the same on every machine and wherever the plan puts them. A layer's matrices are scaled so that each
// output has about the variance of an input: hidden states, scores and logits stay of the size that a trained model's
// have, however many layers there are. The text means nothing.
//
// They are one block of random numbers, read again and again from other places: copying is as fast as memory, where
// drawing 13 billion numbers would take minutes.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "kernels/core/dtype.h"
#include "models/token_id.h"
#include "runtime/weight_source.h"

namespace triforce {

// Of every output that a run with random weights makes.
inline constexpr const char* kRandomWeightsLabel =
    "random weights: times and bytes only; text and acceptance mean nothing";

class RandomWeights final : public WeightSource {
 public:
  explicit RandomWeights(const ModelShape& shape);

  const ModelConfig& config() const override { return config_; }
  ModelShape shape() const override { return shape_; }
  int64_t bytes() const override;
  DType TypeOf(const std::string& name, const std::vector<int64_t>& shape) const override;
  // Norms are ones.
  std::vector<float> Vector(const std::string& name, int64_t elements) const override;
  void Embedding(const std::function<void(std::span<const std::byte> piece)>& take) const override;
  std::unique_ptr<PanelSource> Linear(const LinearSource& source) const override;

 private:
  const ModelShape shape_;
  const ModelConfig config_;
  mutable std::map<double, std::vector<F16>> blocks_;  // by the numbers' deviation, made as they are needed
};

// Ids of the vocabulary to go on from, always the same ones, since there is no tokenizer; the first is the one that
// texts begin with, if there is one.
std::vector<TokenId> RandomIds(int64_t count, const ModelConfig& config);

}  // namespace triforce
