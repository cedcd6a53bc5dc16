#include "runtime/weight_source.h"

#include <fmt/core.h>
#include <fmt/ranges.h>

#include <optional>

#include "kernels/core/error.h"
#include "runtime/checkpoint_weights.h"
#include "runtime/model_shape.h"
#include "runtime/random_weights.h"

namespace triforce {
namespace {

ModelShape ShapeNamed(const std::string& name) {
  const std::optional<ModelShape> shape = NamedShape(name);
  if (shape) return *shape;
  throw Error(ErrorKind::kUsage, "model shape",
              fmt::format("found \"{}\", expected one of {}", name, fmt::join(ShapeNames(), ", ")));
}

}  // namespace

std::unique_ptr<WeightSource> OpenWeights(const ModelSource& model) {
  if (model.random()) return std::make_unique<RandomWeights>(ShapeNamed(model.random_shape));
  return std::make_unique<CheckpointWeights>(model.directory);
}

ModelConfig ReadModelConfig(const ModelSource& model) {
  return model.random() ? ConfigOf(ShapeNamed(model.random_shape)) : ReadModelConfig(model.directory);
}

ModelShape ReadModelShape(const ModelSource& model) {
  return OpenWeights(model)->shape();
}

}  // namespace triforce
