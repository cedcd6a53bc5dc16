// Packing of weights into panels (linear.h): once per load, so plain code; a panel per item.
#include <algorithm>
#include <span>

#include "kernels/core/team.h"
#include "kernels/ops/linear.h"

namespace triforce {
namespace {

// Writes column `column` of `panel` from one row of a source, strided.
template <typename T>
void PackColumn(const T* source, int64_t in_features, T* panel, int64_t column) {
  for (int64_t k = 0; k < in_features; ++k) panel[k * kPanelWidth + column] = source[k];
}

// Feature `feature` counted over all sources side by side; null past the last.
template <typename T>
const T* FeatureRow(std::span<const TensorView> sources, int64_t feature, int64_t in_features) {
  for (const TensorView& source : sources) {
    if (feature < source.dim(0)) return source.as<T>() + feature * in_features;
    feature -= source.dim(0);
  }
  return nullptr;
}

}  // namespace

void PackLinearCpu(Team& team, const PackLinearArgs& args) {
  WithFloatType(args.panels.dtype(), [&]<typename T>(T) {
    const bool gated = args.form == LinearForm::kGated;
    const int64_t width = gated ? kPanelWidth / 2 : kPanelWidth;
    team.For(args.panels.dim(0), [&](Worker&, int64_t p) {
      T* panel = args.panels.as<T>() + p * args.panels.stride(0);
      std::fill_n(panel, args.panels.stride(0), T{});
      for (int64_t column = 0; column < kPanelWidth; ++column) {
        const int64_t feature = (args.first_panel + p) * width + column % width;
        if (feature >= args.out_features) continue;
        const auto matrices = gated ? args.sources.subspan(column / width, 1) : args.sources;
        PackColumn(FeatureRow<T>(matrices, feature, args.in_features), args.in_features, panel, column);
      }
    });
  });
}

}  // namespace triforce
