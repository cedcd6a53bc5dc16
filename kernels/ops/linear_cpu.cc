// Linear on the CPU. Lanes run over the outputs of a panel; rows are taken in tiles of up to kRowTile that share each
// loaded weight. Inputs go in blocks of input features, so that a block of a panel stays in the caches while all
// columns and row tiles use it; the partial sums are kept in f32 in between, which changes no bit.
#include <algorithm>

#include "kernels/core/team.h"
#include "kernels/ops/linear.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/ops/linear_cpu.cc"
#include <hwy/foreach_target.h>
// After foreach_target.h:
#include <hwy/cache_control.h>
#include <hwy/contrib/math/math-inl.h>

#include "kernels/ops/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace triforce {
namespace HWY_NAMESPACE {
namespace {

constexpr int64_t kRowTile = 6;       // 6 x 4 vectors of sums: of 32 registers with AVX-512
constexpr int64_t kRowBlock = 120;    // rows of one item: their sums are 30 KiB
constexpr int64_t kInputBlock = 256;  // input features at a time: 32 KiB of an f16 panel
// The same for 2 to kRowTile rows, whose weights are asked for a block ahead while they multiply: 8 KiB.
constexpr int64_t kFewRowsBlock = 64;

// Vectors of a panel that a tile of `rows` rows takes at a time, so that the sums stay in registers (16 below AVX-512).
constexpr int VectorsAtATime(int rows) {
  if (kLanes == 16) return 4;
  return rows == 1 ? 8 : rows <= 3 ? 4 : 2;
}

// sums[r][c] (+)= x[r][k] * panel[k][c] for kRows rows, the columns of a panel, and `inputs` input features. Meanwhile
// as many weights are asked for from `ahead` on.
template <int kRows, typename T>
HWY_INLINE void MultiplyTile(const float* HWY_RESTRICT x, int64_t x_stride, const T* HWY_RESTRICT panel, int64_t inputs,
                             bool first, const T* ahead, float* HWY_RESTRICT sums) {
  constexpr int kVectors = VectorsAtATime(kRows);
  const FloatTag d;
  for (int64_t column = 0; column < kPanelWidth; column += kVectors * kLanes) {
    FloatVec acc[kRows][kVectors];
    for (int r = 0; r < kRows; ++r) {
      for (int v = 0; v < kVectors; ++v) {
        acc[r][v] = first ? hn::Zero(d) : LoadFloats(sums + r * kPanelWidth + column + v * kLanes);
      }
    }
    const T* HWY_RESTRICT weights = panel + column;
    for (int64_t k = 0; k < inputs; ++k, weights += kPanelWidth) {
      FloatVec w[kVectors];
      for (int v = 0; v < kVectors; ++v) w[v] = LoadFloats(weights + v * kLanes);
      if constexpr (kRows > 1) {  // of one row the processor knows the sequence
        hwy::Prefetch(ahead);
        ahead += kVectors * kLanes;
      }
      for (int r = 0; r < kRows; ++r) {
        const FloatVec input = hn::Set(d, x[r * x_stride + k]);
        for (int v = 0; v < kVectors; ++v) acc[r][v] = hn::MulAdd(input, w[v], acc[r][v]);
      }
    }
    for (int r = 0; r < kRows; ++r) {
      for (int v = 0; v < kVectors; ++v) StoreFloats(acc[r][v], sums + r * kPanelWidth + column + v * kLanes);
    }
  }
}

template <typename T>
void MultiplyRows(const float* x, int64_t x_stride, int64_t rows, const T* panel, int64_t inputs, bool first,
                  const T* ahead, float* sums) {
  switch (rows) {
    case 1:
      return MultiplyTile<1>(x, x_stride, panel, inputs, first, ahead, sums);
    case 2:
      return MultiplyTile<2>(x, x_stride, panel, inputs, first, ahead, sums);
    case 3:
      return MultiplyTile<3>(x, x_stride, panel, inputs, first, ahead, sums);
    case 4:
      return MultiplyTile<4>(x, x_stride, panel, inputs, first, ahead, sums);
    case 5:
      return MultiplyTile<5>(x, x_stride, panel, inputs, first, ahead, sums);
    default:
      return MultiplyTile<6>(x, x_stride, panel, inputs, first, ahead, sums);
  }
}

HWY_INLINE FloatVec Silu(FloatVec v) {
  const FloatTag d;
  return hn::Div(v, hn::Add(hn::Set(d, 1.0f), hn::Exp(d, hn::Neg(v))));
}

// What becomes of the sums of one panel and row: bias, gate, residual. `sums` is padded, `out` is not.
void Epilogue(const LinearArgs& args, int64_t panel, int64_t row, float* HWY_RESTRICT sums) {
  const LinearWeight& weight = args.weight;
  const bool gated = weight.form == LinearForm::kGated;
  const int64_t width = gated ? kPanelWidth / 2 : kPanelWidth;
  const int64_t feature = panel * width;
  const int64_t count = std::min(width, weight.out_features - feature);
  if (weight.bias) {
    const float* bias = weight.bias.as<float>() + feature;
    for (int64_t i = 0; i < count; ++i) sums[i] += bias[i];
    for (int64_t i = 0; gated && i < count; ++i) sums[width + i] += bias[weight.bias.stride(0) + i];
  }
  if (gated) {
    for (int64_t i = 0; i < width; i += kLanes) {
      StoreFloats(hn::Mul(Silu(LoadFloats(sums + i)), LoadFloats(sums + width + i)), sums + i);
    }
  }
  float* out = args.out.as<float>() + row * args.out.stride(0) + feature;
  if (args.residual) {
    const float* residual = args.residual.as<float>() + row * args.residual.stride(0) + feature;
    for (int64_t i = 0; i < count; ++i) out[i] = sums[i] + residual[i];
  } else {
    std::copy_n(sums, count, out);
  }
}

// `next`: the panel that this thread takes next, most likely.
template <typename T>
void RowBlockTimesPanel(const LinearArgs& args, int64_t row, int64_t rows, int64_t panel, int64_t next, float* sums) {
  const int64_t inputs = args.weight.in_features;
  const T* weights = args.weight.panels.as<T>() + panel * args.weight.panels.stride(0);
  const int64_t x_stride = args.x.stride(0);
  const float* x = args.x.as<float>() + row * x_stride;
  const T* const next_weights =
      next < args.weight.panels.dim(0) ? args.weight.panels.as<T>() + next * args.weight.panels.stride(0) : weights;
  const int64_t block = rows == 1 ? inputs : rows <= kRowTile ? kFewRowsBlock : kInputBlock;
  for (int64_t k = 0; k < inputs; k += block) {
    const int64_t count = std::min(block, inputs - k);
    const T* const ahead = k + block < inputs ? weights + (k + block) * kPanelWidth : next_weights;
    for (int64_t r = 0; r < rows; r += kRowTile) {
      MultiplyRows(x + r * x_stride + k, x_stride, std::min(kRowTile, rows - r), weights + k * kPanelWidth, count,
                   k == 0, ahead, sums + r * kPanelWidth);
    }
  }
  for (int64_t r = 0; r < rows; ++r) Epilogue(args, panel, row + r, sums + r * kPanelWidth);
}

void LinearImpl(Team& team, const LinearArgs& args) {
  const int64_t rows = args.x.dim(0);
  const int64_t panels = args.weight.panels.dim(0);
  const int64_t row_blocks = (rows + kRowBlock - 1) / kRowBlock;
  WithFloatType(args.weight.panels.dtype(), [&]<typename T>(T) {
    team.For(panels * row_blocks, [&](Worker& worker, int64_t item) {
      const int64_t row = item % row_blocks * kRowBlock;
      const int64_t panel = item / row_blocks;
      RowBlockTimesPanel<T>(args, row, std::min(kRowBlock, rows - row), panel,
                            row_blocks == 1 ? panel + team.threads() : panel,
                            reinterpret_cast<float*>(worker.scratch.data()));
    });
  });
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace triforce
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace triforce {

HWY_EXPORT(LinearImpl);

void LinearCpu(Team& team, const LinearArgs& args) { HWY_DYNAMIC_DISPATCH(LinearImpl)(team, args); }

}  // namespace triforce
#endif  // HWY_ONCE
