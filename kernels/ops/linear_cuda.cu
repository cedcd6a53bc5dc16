// Linear on CUDA, in two classes of equal bits (DESIGN.md, rule 2): up to kFewRows rows, whose weights' bytes are the
// limit, and more, a prompt's, whose arithmetic is. With 16-bit weights x is rounded to their type.
#include <algorithm>
#include <bit>

#include "kernels/core/gpu_launch.h"
#include "kernels/core/matmul.h"
#include "kernels/ops/linear.h"
#include "kernels/ops/linear_epilogue.h"
#include "kernels/ops/linear_few_rows.h"

namespace triforce {
namespace {

constexpr int kThreads = 256;

constexpr int64_t RoundUp(int64_t value, int64_t multiple) { return (value + multiple - 1) / multiple * multiple; }

// Few rows, f32 weights: each group of 16 threads takes every kGroups-th input feature of a panel, four columns a
// thread.
constexpr int kGroups = kThreads / 16;
constexpr int kF32Loads = 8;  // of each thread under way at a time

template <int kRows>
TF_KERNEL(kThreads)
FewRowsF32Kernel(const float* panels, int64_t in_features, const float* x, int64_t x_stride, int64_t all_rows,
                 LinearEpilogue epilogue) {
  const int group = gpu::ThreadIndex() / 16, column = gpu::ThreadIndex() % 16 * 4;
  const int64_t first_row = gpu::BlockY() * kRows;
  const int rows = static_cast<int>(std::min<int64_t>(kRows, all_rows - first_row));
  const float* const panel = panels + gpu::BlockX() * in_features * kPanelWidth + column;
  float sums[kRows][4] = {};
  for (int64_t first = group; first < in_features; first += kF32Loads * kGroups) {
    gpu::Floats4 w[kF32Loads];
    TF_UNROLL for (int i = 0; i < kF32Loads; ++i) {
      const int64_t k = std::min(first + i * kGroups, in_features - 1);
      w[i] = std::bit_cast<gpu::Floats4>(gpu::LoadOnce16(panel + k * kPanelWidth));
    }
    TF_UNROLL for (int i = 0; i < kF32Loads; ++i) {
      const int64_t k = first + i * kGroups;
      if (k >= in_features) continue;
      TF_UNROLL for (int row = 0; row < kRows; ++row) {
        const float input = row < rows ? x[(first_row + row) * x_stride + k] : 0.0f;
        TF_UNROLL for (int c = 0; c < 4; ++c) sums[row][c] = gpu::Fma(input, w[i].f[c], sums[row][c]);
      }
    }
  }
  // [groups, kRows, kPanelWidth]
  auto* const shared = gpu::Shared<float>();
  TF_UNROLL for (int row = 0; row < kRows; ++row) {
    *reinterpret_cast<gpu::Floats4*>(shared + (group * kRows + row) * kPanelWidth + column) = {
        sums[row][0], sums[row][1], sums[row][2], sums[row][3]};
  }
  gpu::SyncThreads();
  const int features = epilogue.PanelFeatures();
  const auto sum = [&](int row, int c) {
    float total = shared[row * kPanelWidth + c];
    for (int g = 1; g < kGroups; ++g) total += shared[(g * kRows + row) * kPanelWidth + c];
    return total;
  };
  for (int i = gpu::ThreadIndex(); i < rows * features; i += kThreads) {
    const int row = i / features, c = i % features;
    const int64_t feature = gpu::BlockX() * features + c;
    if (feature >= epilogue.out_features) continue;
    FinishOutput(epilogue, first_row + row, feature, sum(row, c), epilogue.gated ? sum(row, features + c) : 0.0f,
                 LoadResidual(epilogue, first_row + row, feature));
  }
}

template <int kRows>
void LaunchFewRowsF32(CudaLane& lane, const LinearArgs& args) {
  const int64_t rows = args.x.dim(0);
  Launch<FewRowsF32Kernel<kRows>>(lane, "linear",
                                  {.x = args.weight.panels.dim(0),
                                   .y = (rows + kRows - 1) / kRows,
                                   .threads = kThreads,
                                   .shared_bytes = kGroups * kRows * kPanelWidth * int64_t{sizeof(float)}},
                                  args.weight.panels.as<float>(), args.weight.in_features, args.x.as<float>(),
                                  args.x.stride(0), rows, LinearEpilogue(args));
}

// Columns of a block, in pieces of 8: half a panel, or fewer, so that there are blocks for three quarters of the
// multiprocessors. (An H100 reads 2.57 TB/s by half panels where it reads 2.32 by whole ones: 1 row, 4096 x 11008.)
int ChunksOfBlock(int64_t panels, int multiprocessors) { return panels * 2 * 4 < int64_t{3} * multiprocessors ? 2 : 4; }

template <typename T, int kChunks, int kTiles, bool kDirect>
void LaunchChunks(CudaLane& lane, int64_t panels, const FewRowsArgs<T>& args) {
  using Shape = FewRowsShape<kChunks, kTiles, kDirect>;
  Launch<FewRowsKernel<T, kChunks, kTiles, kDirect>>(
      lane, "linear",
      {.x = panels * Shape::kParts, .threads = kFewThreads, .shared_bytes = Shape::kSharedBytes, .starts_early = true},
      args);
}

template <typename T, int kTiles, bool kDirect>
void LaunchFewRows(CudaLane& lane, int64_t panels, const FewRowsArgs<T>& args) {
  if (ChunksOfBlock(panels, lane.multiprocessors()) == 4)
    return LaunchChunks<T, 4, kTiles, kDirect>(lane, panels, args);
  return LaunchChunks<T, 2, kTiles, kDirect>(lane, panels, args);
}

template <typename T>
void FewRows(CudaLane& lane, const LinearArgs& args) {
  const int64_t rows = args.x.dim(0), inputs = args.weight.in_features, panels = args.weight.panels.dim(0);
  const float* const x = args.x.as<float>();
  FewRowsArgs<T> few{args.weight.panels.as<T>(), inputs, x, args.x.stride(0), static_cast<int>(rows),
                     LinearEpilogue(args)};
  const bool aligned =
      reinterpret_cast<uintptr_t>(x) % 16 == 0 && (rows == 1 || args.x.stride(0) % 4 == 0) && inputs % 4 == 0;
  if (rows <= kDirectRows && aligned) return LaunchFewRows<T, 1, true>(lane, panels, few);
  const int tiles = rows <= kTileRows ? 1 : rows <= 2 * kTileRows ? 2 : 4;
  const int64_t count = (inputs + kStepInputs - 1) / kStepInputs * tiles * gpu::kWarpThreads;
  auto* const packed = reinterpret_cast<gpu::Words4*>(lane.Scratch(count * int64_t{sizeof(gpu::Words4)}));
  Launch<PackRowsKernel<T>>(lane, "linear: x",
                            {.x = (count + kThreads - 1) / kThreads, .threads = kThreads, .starts_early = true}, x,
                            args.x.stride(0), rows, inputs, tiles, packed, count);
  few.x = packed;
  switch (tiles) {
    case 1:
      return LaunchFewRows<T, 1, false>(lane, panels, few);
    case 2:
      return LaunchFewRows<T, 2, false>(lane, panels, few);
    default:
      return LaunchFewRows<T, 4, false>(lane, panels, few);
  }
}

template <>
void FewRows<float>(CudaLane& lane, const LinearArgs& args) {
  return args.x.dim(0) == 1 ? LaunchFewRowsF32<1>(lane, args) : LaunchFewRowsF32<8>(lane, args);
}

// Many rows: tiles of kManyRows, the last one filled up with zeros, times the panels, as many at a time as have their
// sums in the lane's scratch memory; then the epilogue.
constexpr int64_t kManyRows = 512;
constexpr int64_t kGroupPanels = 256;  // at most; their sums, 32 MiB, should stay in the second cache
constexpr int kLoads = 8;              // of each thread under way at a time

// A row of x -> T, a block each; zeros behind the input features, and in the rows behind the last.
template <typename T>
TF_KERNEL(kThreads)
RoundRowsKernel(const float* x, int64_t x_stride, int64_t rows, int64_t in_features, T* to, int64_t to_stride) {
  const int64_t row = gpu::BlockX();
  for (int64_t first = gpu::ThreadIndex(); first < to_stride; first += kLoads * kThreads) {
    float values[kLoads];
    TF_UNROLL for (int i = 0; i < kLoads; ++i) {
      const int64_t k = first + i * kThreads;
      values[i] = row < rows && k < in_features ? x[row * x_stride + k] : 0.0f;
    }
    TF_UNROLL for (int i = 0; i < kLoads; ++i) {
      const int64_t k = first + i * kThreads;
      if (k < to_stride) to[row * to_stride + k] = gpu::FromFloat<T>(values[i]);
    }
  }
}

// sums: [panels, kManyRows, kPanelWidth]; the first panel's features begin at `first_feature`. A thread has one feature
// of kLoads rows.
TF_KERNEL(kThreads)
FinishRowsKernel(const float* sums, int64_t first_feature, int64_t end_feature, int64_t rows, LinearEpilogue epilogue) {
  const int64_t i = gpu::BlockX() * kThreads + gpu::ThreadIndex();
  const int64_t feature = first_feature + i, first_row = gpu::BlockY() * kLoads;
  if (feature >= end_feature) return;
  const int features = epilogue.PanelFeatures();
  const float* const from = sums + (i / features * kManyRows + first_row) * kPanelWidth + i % features;
  float sum[kLoads], up[kLoads], residual[kLoads];
  TF_UNROLL for (int row = 0; row < kLoads; ++row) {  // kManyRows is a multiple: rows behind the last have sums too
    sum[row] = from[row * kPanelWidth];
    up[row] = epilogue.gated ? from[row * kPanelWidth + features] : 0.0f;
    residual[row] = first_row + row < rows ? LoadResidual(epilogue, first_row + row, feature) : 0.0f;
  }
  TF_UNROLL for (int row = 0; row < kLoads; ++row) {
    if (first_row + row < rows) FinishOutput(epilogue, first_row + row, feature, sum[row], up[row], residual[row]);
  }
}

// `args` has kManyRows rows at most.
template <typename T>
void RowTile(CudaLane& lane, const LinearArgs& args, T* x, int64_t x_stride, float* sums, int64_t group) {
  const int64_t rows = args.x.dim(0), inputs = args.weight.in_features;
  const LinearEpilogue epilogue(args);
  Launch<RoundRowsKernel<T>>(lane, "linear: x", {.x = kManyRows, .threads = kThreads}, args.x.as<float>(),
                             args.x.stride(0), rows, inputs, x, x_stride);
  for (int64_t panel = 0; panel < args.weight.panels.dim(0); panel += group) {
    const int64_t panels = std::min(group, args.weight.panels.dim(0) - panel);
    Matmul(lane, {.dtype = kDTypeOf<T>,
                  .batch = panels,
                  .rows = kManyRows,
                  .inner = inputs,
                  .columns = kPanelWidth,
                  .a = x,
                  .a_stride = x_stride,
                  .b = args.weight.panels.as<T>() + panel * inputs * kPanelWidth,
                  .out = sums});
    const int64_t first = panel * epilogue.PanelFeatures();
    const int64_t end = std::min(first + panels * epilogue.PanelFeatures(), epilogue.out_features);
    Launch<FinishRowsKernel>(
        lane, "linear: epilogue",
        {.x = (end - first + kThreads - 1) / kThreads, .y = (rows + kLoads - 1) / kLoads, .threads = kThreads}, sums,
        first, end, rows, epilogue);
  }
}

// Calls f with rows of the op's, `rows` at a time.
template <typename F>
void ForRowTiles(const LinearArgs& args, int64_t rows, const F& f) {
  for (int64_t row = 0; row < args.x.dim(0); row += rows) {
    const auto tile = [&](const TensorView& t) { return t ? t.Slice(0, row, std::min(row + rows, args.x.dim(0))) : t; };
    f(LinearArgs{tile(args.x), args.weight, tile(args.residual), tile(args.out)});
  }
}

template <typename T>
void ManyRows(CudaLane& lane, const LinearArgs& args) {
  const int64_t x_stride = RoundUp(args.weight.in_features, 16 / int64_t{sizeof(T)});
  const int64_t x_bytes = RoundUp(kManyRows * x_stride * int64_t{sizeof(T)}, 256);
  constexpr int64_t kPanelBytes = kManyRows * kPanelWidth * int64_t{sizeof(float)};
  const int64_t most = std::min(kGroupPanels, (CudaLane::kScratchBytes - x_bytes) / kPanelBytes);
  if (most <= 0) {  // inputs so long that a tile of them has no room; a matter of in_features alone
    return ForRowTiles(args, kFewRows, [&](const LinearArgs& tile) { FewRows<T>(lane, tile); });
  }
  const int64_t panels = args.weight.panels.dim(0), groups = (panels + most - 1) / most;
  const int64_t group = (panels + groups - 1) / groups;
  std::byte* const scratch = lane.Scratch(x_bytes + group * kPanelBytes);
  ForRowTiles(args, kManyRows, [&](const LinearArgs& tile) {
    RowTile(lane, tile, reinterpret_cast<T*>(scratch), x_stride, reinterpret_cast<float*>(scratch + x_bytes), group);
  });
}

}  // namespace

void LinearCuda(CudaLane& lane, const LinearArgs& args) {
  if (args.x.dim(0) == 0) return;
  WithFloatType(args.weight.panels.dtype(),
                [&]<typename T>(T) { args.x.dim(0) <= kFewRows ? FewRows<T>(lane, args) : ManyRows<T>(lane, args); });
}

}  // namespace triforce
