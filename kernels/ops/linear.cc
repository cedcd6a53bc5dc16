#include "kernels/ops/linear.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <thread>

#include "kernels/core/cpu_lane.h"
#include "kernels/core/cuda_lane.h"
#include "kernels/core/team.h"

namespace triforce {

void LinearCpu(Team& team, const LinearArgs& args);                     // linear_cpu.cc
void PackLinearCpu(Team& team, const PackLinearArgs& args);             // linear_pack_cpu.cc
[[gnu::weak]] void LinearCuda(CudaLane& lane, const LinearArgs& args);  // linear_cuda.cu

namespace {

int64_t FeaturesPerPanel(LinearForm form) { return form == LinearForm::kGated ? kPanelWidth / 2 : kPanelWidth; }

void CheckWeight(const LinearWeight& weight) {
  const TensorView& panels = weight.panels;
  TF_CHECK(weight.in_features > 0 && weight.out_features > 0);
  TF_CHECK(panels.rank() == 3 && panels.dense() && panels.dim(0) == LinearPanels(weight.form, weight.out_features) &&
               panels.dim(1) == weight.in_features && panels.dim(2) == kPanelWidth,
           "panels {}", panels.ToString());
  if (weight.bias) {
    const int64_t matrices = weight.form == LinearForm::kGated ? 2 : 1;
    TF_CHECK(weight.bias.dtype() == DType::kF32 && weight.bias.dense_rows() &&
                 weight.bias.elements() == matrices * weight.out_features,
             "bias {}", weight.bias.ToString());
  }
}

void CheckRows(const TensorView& t, int64_t rows, int64_t features) {
  TF_CHECK(t.rank() == 2 && t.dtype() == DType::kF32 && t.dense_rows() && t.dim(0) == rows && t.dim(1) == features,
           "{}, expected [{}, {}]", t.ToString(), rows, features);
}

void Check(const LinearArgs& args) {
  CheckWeight(args.weight);
  CheckRows(args.x, args.x.dim(0), args.weight.in_features);
  CheckRows(args.out, args.x.dim(0), args.weight.out_features);
  if (args.residual) CheckRows(args.residual, args.x.dim(0), args.weight.out_features);
}

// Feature `feature` of matrix `matrix` (kGated: 0 gate, 1 up) at input feature k.
template <typename T>
double PackedAt(const LinearWeight& weight, int64_t matrix, int64_t feature, int64_t k) {
  const int64_t width = FeaturesPerPanel(weight.form);
  const int64_t panel = feature / width;
  const int64_t column = matrix * width + feature % width;
  return ToF32(weight.panels.as<T>()[(panel * weight.in_features + k) * kPanelWidth + column]);
}

template <typename T>
double Dot(const LinearArgs& args, int64_t row, int64_t matrix, int64_t feature) {
  const float* x = args.x.as<float>() + row * args.x.stride(0);
  double sum = 0;
  for (int64_t k = 0; k < args.weight.in_features; ++k) sum += x[k] * PackedAt<T>(args.weight, matrix, feature, k);
  if (args.weight.bias) sum += args.weight.bias.as<float>()[matrix * args.weight.bias.stride(0) + feature];
  return sum;
}

// Packing for lanes that have no Team: with one of its own.
void PackOnHost(void* args) {
  Team team(std::max(1, static_cast<int>(std::thread::hardware_concurrency())));
  PackLinearCpu(team, *static_cast<const PackLinearArgs*>(args));
}

}  // namespace

int64_t LinearPanels(LinearForm form, int64_t out_features) {
  const int64_t width = FeaturesPerPanel(form);
  return (out_features + width - 1) / width;
}

LinearPart PartOf(const LinearWeight& weight, int64_t first, const TensorView& panels) {
  const int64_t width = FeaturesPerPanel(weight.form);
  LinearPart part{.weight = weight, .first_feature = first * width};
  const int64_t end = std::min(part.first_feature + panels.dim(0) * width, weight.out_features);
  part.weight.out_features = end - part.first_feature;
  part.weight.panels = panels;
  if (weight.bias) part.weight.bias = weight.bias.Slice(weight.bias.rank() - 1, part.first_feature, end);
  return part;
}

void PackLinear(Lane& lane, const PackLinearArgs& args) {
  int64_t features = 0;
  for (const TensorView& source : args.sources) {
    TF_CHECK(source.rank() == 2 && source.dense() && source.dim(1) == args.in_features &&
                 source.dtype() == args.panels.dtype(),
             "source {}", source.ToString());
    features += source.dim(0);
  }
  if (args.form == LinearForm::kGated) {
    TF_CHECK(args.sources.size() == 2 && args.sources[0].dim(0) == args.out_features &&
             args.sources[1].dim(0) == args.out_features);
  } else {
    TF_CHECK(features == args.out_features, "{} features for {}", features, args.out_features);
  }
  TF_CHECK(args.panels.rank() == 3 && args.panels.dense() && args.panels.dim(1) == args.in_features &&
               args.panels.dim(2) == kPanelWidth && args.first_panel >= 0 &&
               args.first_panel + args.panels.dim(0) <= LinearPanels(args.form, args.out_features),
           "panels {} from {}", args.panels.ToString(), args.first_panel);
  if (AsCuda(lane) != nullptr) {
    lane.Call(PackOnHost, const_cast<PackLinearArgs*>(&args), "pack");
  } else {
    AsCpu(lane).Run("pack", [args](Team& team) { PackLinearCpu(team, args); });
  }
  lane.Synchronize();
}

void Linear(Lane& lane, const LinearArgs& args) {
  Check(args);
  if (CudaLane* const cuda = AsCuda(lane)) {
    TF_CHECK(reinterpret_cast<uintptr_t>(args.weight.panels.data()) % 16 == 0);
    return LinearCuda(*cuda, args);
  }
  AsCpu(lane).Run("linear", [args](Team& team) { LinearCpu(team, args); });
}

void LinearReference(const LinearArgs& args) {
  Check(args);
  WithFloatType(args.weight.panels.dtype(), [&]<typename T>(T) {
    for (int64_t row = 0; row < args.x.dim(0); ++row) {
      for (int64_t feature = 0; feature < args.weight.out_features; ++feature) {
        double value = Dot<T>(args, row, 0, feature);
        if (args.weight.form == LinearForm::kGated) {
          value = value / (1 + std::exp(-value)) * Dot<T>(args, row, 1, feature);
        }
        if (args.residual) value += args.residual.as<float>()[row * args.residual.stride(0) + feature];
        args.out.as<float>()[row * args.out.stride(0) + feature] = static_cast<float>(value);
      }
    }
  });
}

}  // namespace triforce
