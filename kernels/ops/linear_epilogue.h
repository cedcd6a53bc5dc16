// What becomes of Linear's sums on CUDA: bias, gate, residual, in the same steps whichever kernel has taken the sums.
// For .cu files.
#pragma once

#include <cstdint>

#include "kernels/core/gpu.h"
#include "kernels/ops/linear.h"

namespace triforce {

struct LinearEpilogue {
  explicit LinearEpilogue(const LinearArgs& args)
      : gated(args.weight.form == LinearForm::kGated),
        out_features(args.weight.out_features),
        out(args.out.as<float>()),
        out_stride(args.out.stride(0)) {
    if (args.weight.bias) bias = args.weight.bias.as<float>(), bias_stride = args.weight.bias.stride(0);
    if (args.residual) residual = args.residual.as<float>(), residual_stride = args.residual.stride(0);
  }

  // Output features of a panel.
  TF_HOST_DEVICE int PanelFeatures() const { return static_cast<int>(gated ? kPanelWidth / 2 : kPanelWidth); }

  bool gated;
  int64_t out_features;
  float* out;  // [rows, out_features]
  int64_t out_stride;
  const float* bias = nullptr;  // or null; [out_features], gated: [2, out_features]
  int64_t bias_stride = 0;
  const float* residual = nullptr;  // or null; [rows, out_features]; may be out
  int64_t residual_stride = 0;
};

// What FinishOutput adds last; it can be asked for long before.
TF_DEVICE float LoadResidual(const LinearEpilogue& to, int64_t row, int64_t feature) {
  return to.residual != nullptr ? to.residual[row * to.residual_stride + feature] : 0.0f;
}

// `sum` is x * W^T of this row and feature; gated: the gate's, and `up` the other's.
TF_DEVICE void FinishOutput(const LinearEpilogue& to, int64_t row, int64_t feature, float sum, float up,
                            float residual) {
  float value = to.bias != nullptr ? sum + to.bias[feature] : sum;
  if (to.gated) {
    if (to.bias != nullptr) up += to.bias[to.bias_stride + feature];
    value = value / (1.0f + gpu::Exp(-value)) * up;
  }
  to.out[row * to.out_stride + feature] = value + residual;
}

}  // namespace triforce
