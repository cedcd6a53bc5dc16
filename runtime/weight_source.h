// WeightSource: a model's weights, as loading asks for them: of a directory's checkpoint, or random ones of a shape.
//
// load_weights.h puts them where the plan has room for them. Tensors are named as in weight_names.h. Used by one
// thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "kernels/core/lane.h"
#include "kernels/core/tensor.h"
#include "models/config.h"
#include "offload/model_shape.h"
#include "runtime/weight_names.h"

namespace triforce {

// Where a model comes from. One of both is given.
struct ModelSource {
  std::string directory;     // Hugging Face's
  std::string random_shape;  // of NamedShape: its weights are random (random_weights.h)

  bool random() const { return directory.empty() && !random_shape.empty(); }
  std::string name() const { return random() ? random_shape + " with random weights" : directory; }
};

// One linear weight, to be packed run by run.
class PanelSource {
 public:
  virtual ~PanelSource() = default;
  // Writes panels [first_panel, first_panel + panels.dim(0)) of the weight to `panels`, [panels, in_features,
  // kPanelWidth] in the weight's type, in the host's reach. Returns when done.
  virtual void Pack(Lane& lane, int64_t first_panel, const TensorView& panels) = 0;
};

class WeightSource {
 public:
  virtual ~WeightSource() = default;

  virtual const ModelConfig& config() const = 0;
  // With the types that the weights have. Throws Error as TypeOf does; kUnsupported where the layers' linear weights
  // are not all of one type.
  virtual ModelShape shape() const = 0;
  virtual int64_t bytes() const = 0;  // of all tensors

  // Of a tensor. Throws Error (kInvalidInput, kUnsupported) where there is none of that name, shape and of a type that
  // weights can have.
  virtual DType TypeOf(const std::string& name, const std::vector<int64_t>& shape) const = 0;
  // The values of a vector. REQUIRES: TypeOf has not thrown for it; so too in the following.
  virtual std::vector<float> Vector(const std::string& name, int64_t elements) const = 0;
  // Gives out the rows of the embedding, in their type, piece by piece.
  virtual void Embedding(const std::function<void(std::span<const std::byte> piece)>& take) const = 0;
  // Without biases, which are vectors. This outlives it.
  virtual std::unique_ptr<PanelSource> Linear(const LinearSource& source) const = 0;
};

// Throws Error: files that are missing or wrong; kUsage where random_shape is no shape's name.
std::unique_ptr<WeightSource> OpenWeights(const ModelSource& model);

// The same without weights. What weights themselves say is not looked at.
ModelConfig ReadModelConfig(const ModelSource& model);

// OpenWeights(model)->shape().
ModelShape ReadModelShape(const ModelSource& model);

}  // namespace triforce
