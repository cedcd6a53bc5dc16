#include "runtime/checkpoint_weights.h"

#include <cstring>
#include <initializer_list>

#include "kernels/core/check.h"
#include "kernels/ops/linear.h"
#include "runtime/model_shape.h"

namespace triforce {
namespace {

class CheckpointPanels final : public PanelSource {
 public:
  CheckpointPanels(const Checkpoint& checkpoint, const LinearSource& source) {
    args_ = {.form = source.form, .in_features = source.in_features};
    for (const MatrixName& matrix : source.matrices) {
      const TensorRecord& record = *checkpoint.Find(matrix.name + ".weight");
      const std::byte* data = record.data.data();
      if (reinterpret_cast<uintptr_t>(data) % SizeOf(*record.dtype) != 0) {
        aligned_.emplace_back(record.data.begin(), record.data.end());
        data = aligned_.back().data();
      }
      sources_.emplace_back(nullptr, const_cast<std::byte*>(data), *record.dtype,
                            std::initializer_list<int64_t>{matrix.out_features, source.in_features});
      args_.out_features += matrix.out_features;
    }
    if (source.form == LinearForm::kGated) args_.out_features /= 2;
    args_.sources = sources_;
  }

  void Pack(Lane& lane, int64_t first_panel, const TensorView& panels) override {
    args_.first_panel = first_panel;
    args_.panels = panels;
    PackLinear(lane, args_);
  }

 private:
  std::vector<TensorView> sources_;              // where they lie in their files,
  std::vector<std::vector<std::byte>> aligned_;  // or copies of what lies unaligned there
  PackLinearArgs args_;
};

}  // namespace

CheckpointWeights::CheckpointWeights(const std::string& directory)
    : config_(ReadModelConfig(directory)), checkpoint_(directory) {}

ModelShape CheckpointWeights::shape() const { return ShapeOf(config_, checkpoint_); }

DType CheckpointWeights::TypeOf(const std::string& name, const std::vector<int64_t>& shape) const {
  return *checkpoint_.Require(name, shape).dtype;
}

std::vector<float> CheckpointWeights::Vector(const std::string& name, int64_t elements) const {
  const TensorRecord& record = *checkpoint_.Find(name);
  TF_CHECK(record.elements() == elements, "{}", name);
  std::vector<float> values(static_cast<size_t>(elements));
  WithFloatType(*record.dtype, [&]<typename T>(T value) {
    for (size_t i = 0; i < values.size(); ++i) {
      std::memcpy(&value, record.data.data() + i * sizeof(T), sizeof(T));  // the file may have it unaligned
      values[i] = ToF32(value);
    }
  });
  return values;
}

void CheckpointWeights::Embedding(const std::function<void(std::span<const std::byte> piece)>& take) const {
  take(checkpoint_.Find(EmbeddingName())->data);
}

std::unique_ptr<PanelSource> CheckpointWeights::Linear(const LinearSource& source) const {
  return std::make_unique<CheckpointPanels>(checkpoint_, source);
}

}  // namespace triforce
