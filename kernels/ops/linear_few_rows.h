// Linear's kernel for up to 64 rows and 16-bit weights: these go once from memory to the tensor cores. For .cu files.
//
// A block has all rows of x, in kTiles tiles of 16, and some columns of a panel: kChunks pieces of 16 bytes of each of
// its rows. Its warps take the input features in turn, 16 at a step: warp w steps w, w + kWarps, and so on, through a
// ring of its own in shared memory that is filled some steps ahead. At the end the warps' sums are added, in their
// order. An output's order of summation so depends on in_features alone. How columns are cut is free, and chosen by how
// many blocks the multiprocessors want; so is the number of tiles.
//
// No weight is transposed on its way. Of an mma's 16 input features, thread t of four has those that the PTX manual
// calls 2t, 2t+1, 2t+8, 2t+9; here it takes 4t .. 4t+3 for them, of both operands. Of an mma's 8 columns, group g has
// the one called g; here, of the block's kChunks mma's, it takes columns g * kChunks .. + kChunks - 1, which lie side
// by side.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "kernels/core/gpu.h"
#include "kernels/ops/linear_epilogue.h"

namespace triforce {

// To be tried on a GPU; none but kFewWarps changes a bit of the results.
inline constexpr int kFewWarps = 8;
inline constexpr int kFewSharedBytes = 96 << 10;  // of a block: one on sm_89, two on sm_90
inline constexpr int kFewMaxStages = 8;           // of a ring
inline constexpr int kDirectRows = 8;             // so many rows of x are read as f32 by each block; 8 or 16

inline constexpr int kFewRows = 64;
inline constexpr int kFewThreads = kFewWarps * gpu::kWarpThreads;
inline constexpr int kStepInputs = 16;
inline constexpr int kTileRows = 16;
inline constexpr int kWarpPiecesBytes = gpu::kWarpThreads * 16;  // a piece of each lane

template <int kChunks, int kTiles, bool kDirect>
struct FewRowsShape {
  static constexpr int kColumns = 8 * kChunks;
  static constexpr int kParts = static_cast<int>(kPanelWidth) / kColumns;  // blocks of a panel
  static constexpr int kWeightPieces = kChunks / 2;                        // of each lane, at a step
  static constexpr int kXPieces = kDirect ? kDirectRows / 8 : kTiles;
  static constexpr int kStageBytes = (kWeightPieces + kXPieces) * kWarpPiecesBytes;
  static constexpr int kStages = std::min(kFewMaxStages, kFewSharedBytes / (kFewWarps * kStageBytes));
  static constexpr int kRingBytes = kStages * kStageBytes;  // of a warp; in the end its sums of two tiles
  static constexpr int kSumStride = kColumns + 4;           // floats
  static constexpr int kTileSumBytes = kTileRows * kSumStride * static_cast<int>(sizeof(float));
  static constexpr int64_t kSharedBytes = kFewWarps * kRingBytes;
  static_assert(kStages >= 2 && std::min(kTiles, 2) * kTileSumBytes <= kRingBytes);
};

template <typename T>
struct FewRowsArgs {
  const T* panels;
  int64_t in_features;
  // Direct: f32 [rows, in_features], aligned to 16 bytes as its rows are, in_features a multiple of 4; else what
  // PackRowsKernel makes of it.
  const void* x;
  int64_t x_stride;
  int rows;
  LinearEpilogue epilogue;
};

// x in the order in which FewRowsKernel's lanes want it, rounded to T: words a[0..3] of an mma, [steps, tiles, 32
// lanes]; zeros beyond the rows and the input features. A thread per lane. `count`: of them all.
template <typename T>
TF_KERNEL(256)
PackRowsKernel(const float* x, int64_t x_stride, int64_t rows, int64_t in_features, int tiles, gpu::Words4* packed,
               int64_t count) {
  gpu::AllowNext();
  gpu::AwaitPrevious();
  const int64_t i = gpu::BlockX() * 256 + gpu::ThreadIndex();
  if (i >= count) return;
  const int lane = static_cast<int>(i % gpu::kWarpThreads);
  const int64_t row = i / gpu::kWarpThreads % tiles * kTileRows + lane / 4;
  const int64_t k = i / gpu::kWarpThreads / tiles * kStepInputs + lane % 4 * 4;
  float v[2][4];
  TF_UNROLL for (int half = 0; half < 2; ++half) {
    TF_UNROLL for (int j = 0; j < 4; ++j) {
      const bool valid = row + 8 * half < rows && k + j < in_features;
      v[half][j] = valid ? x[(row + 8 * half) * x_stride + k + j] : 0.0f;
    }
  }
  packed[i] = {gpu::Pack<T>(v[0][0], v[0][1]), gpu::Pack<T>(v[1][0], v[1][1]), gpu::Pack<T>(v[0][2], v[0][3]),
               gpu::Pack<T>(v[1][2], v[1][3])};
}

// Starts the copies of a warp's steps, one after another, into stages of its ring.
//
// A stage: weights [4, 4, kChunks] pieces of 16 bytes, where [j][t] is input feature 4t + j of the step, so that what a
// warp reads at once lies side by side; then x, [kXPieces, 32 lanes] pieces, each lane its own.
template <typename T, int kChunks, int kTiles, bool kDirect>
struct StepCopies {
  using Shape = FewRowsShape<kChunks, kTiles, kDirect>;
  static constexpr int kWarpsInputs = kFewWarps * kStepInputs;

  TF_DEVICE explicit StepCopies(const FewRowsArgs<T>& args) {
    const int lane = gpu::LaneIndex(), warp = gpu::WarpIndex();
    const int64_t panel = gpu::BlockX() / Shape::kParts;
    const int part = static_cast<int>(gpu::BlockX() % Shape::kParts), chunk = lane % kChunks;
    int column = (part * kChunks + chunk) * 8;
    if (args.epilogue.gated) {  // half the block's columns are gate features, the other the same up features
      constexpr int kHalf = kChunks / 2;
      column = chunk / kHalf * (static_cast<int>(kPanelWidth) / 2) + (part * kHalf + chunk % kHalf) * 8;
    }
    const int input = warp * kStepInputs + lane / kChunks % 4 * 4 + lane / (4 * kChunks);
    weights = args.panels + (panel * args.in_features + input) * kPanelWidth + column;
    inputs_left = static_cast<int>(args.in_features) - input;
    if constexpr (kDirect) {
      const int row = lane / 4, first = warp * kStepInputs + lane % 4 * 4;
      TF_UNROLL for (int i = 0; i < Shape::kXPieces; ++i) {
        const bool valid = row + 8 * i < args.rows;
        x[i] = static_cast<const float*>(args.x) + (valid ? (row + 8 * i) * args.x_stride : 0) + first;
        x_left[i] = valid ? static_cast<int>(args.in_features) - first : 0;
      }
    } else {
      fragments = static_cast<const gpu::Words4*>(args.x) + warp * kTiles * gpu::kWarpThreads + lane;
    }
  }

  // `stage`: this lane's 16 bytes of its first pieces.
  TF_DEVICE void StartNext(std::byte* stage) {
    StartWeights(stage);
    StartX(stage);
  }

  // The two parts of that.
  TF_DEVICE void StartWeights(std::byte* stage) {
    constexpr int kInputsApart = 8 / kChunks;  // of a lane's pieces
    TF_UNROLL for (int i = 0; i < Shape::kWeightPieces; ++i) {
      gpu::CopyAsync16(stage + i * kWarpPiecesBytes, weights + i * kInputsApart * kPanelWidth,
                       inputs_left > i * kInputsApart);
    }
    weights += kWarpsInputs * kPanelWidth;
    inputs_left -= kWarpsInputs;
  }
  TF_DEVICE void StartX(std::byte* stage) {
    stage += Shape::kWeightPieces * kWarpPiecesBytes;
    TF_UNROLL for (int i = 0; i < Shape::kXPieces; ++i) {
      if constexpr (kDirect) {
        gpu::CopyAsync16(stage + i * kWarpPiecesBytes, x[i], x_left[i] > 0);
        x[i] += kWarpsInputs;
        x_left[i] -= kWarpsInputs;
      } else {
        gpu::CopyAsync16(stage + i * kWarpPiecesBytes, fragments + i * gpu::kWarpThreads);
      }
    }
    if constexpr (!kDirect) fragments += kFewWarps * kTiles * gpu::kWarpThreads;
  }

  // Of the next step, this lane's first pieces; how many input features there are from theirs on.
  const T* weights;
  int inputs_left;
  const float* x[Shape::kXPieces];         // direct
  int x_left[Shape::kXPieces];             // none where the row is not there
  const gpu::Words4* fragments = nullptr;  // else
};

template <int kCount>
struct alignas(kCount * 4) Words {
  uint32_t w[kCount];
};

// sums += x * weights of the step whose copies lie in `stage`.
template <typename T, int kChunks, int kTiles, bool kDirect>
TF_DEVICE void MultiplyStep(const std::byte* stage, float (&sums)[kTiles][kChunks][4]) {
  using Shape = FewRowsShape<kChunks, kTiles, kDirect>;
  using LaneWords = Words<kChunks / 2>;
  const int lane = gpu::LaneIndex(), g = lane / 4, t = lane % 4;
  const auto* const x = reinterpret_cast<const gpu::Words4*>(stage + Shape::kWeightPieces * kWarpPiecesBytes) + lane;
  uint32_t a[kTiles][4];
  if constexpr (kDirect) {
    TF_UNROLL for (int half = 0; half < 2; ++half) {
      const gpu::Floats4 v =
          half < Shape::kXPieces ? reinterpret_cast<const gpu::Floats4*>(x)[half * gpu::kWarpThreads] : gpu::Floats4{};
      a[0][half] = gpu::Pack<T>(v.f[0], v.f[1]);
      a[0][2 + half] = gpu::Pack<T>(v.f[2], v.f[3]);
    }
  } else {
    TF_UNROLL for (int tile = 0; tile < kTiles; ++tile) {
      const gpu::Words4 words = x[tile * gpu::kWarpThreads];
      TF_UNROLL for (int i = 0; i < 4; ++i) a[tile][i] = words.w[i];
    }
  }
  LaneWords w[4];  // of input features 4t .. 4t+3, this lane's kChunks columns
  TF_UNROLL for (int j = 0; j < 4; ++j) {
    w[j] = reinterpret_cast<const LaneWords*>(stage + (j * 4 + t) * kChunks * 16)[g];
  }
  TF_UNROLL for (int c = 0; c < kChunks; ++c) {
    const uint32_t halves = c % 2 == 0 ? 0x5410 : 0x7632;  // the low ones of two words, or the high ones
    const uint32_t b[2] = {gpu::Permute(w[0].w[c / 2], w[1].w[c / 2], halves),
                           gpu::Permute(w[2].w[c / 2], w[3].w[c / 2], halves)};
    TF_UNROLL for (int tile = 0; tile < kTiles; ++tile) gpu::Mma16816<T>(sums[tile][c], a[tile], b);
  }
}

// This warp's sums of a tile -> [16, kSumStride]; those of rows from `rows` on are left out.
template <typename Shape, int kChunks>
TF_DEVICE void StoreTile(const float (&sums)[kChunks][4], int rows, float* to) {
  const int g = gpu::LaneIndex() / 4, t = gpu::LaneIndex() % 4;
  TF_UNROLL for (int half = 0; half < 2; ++half) {
    const int row = g + 8 * half;
    if (row >= rows) continue;
    auto* const quads = reinterpret_cast<gpu::Floats4*>(to + row * Shape::kSumStride + t * 2 * kChunks);
    TF_UNROLL for (int i = 0; i < 2 * kChunks; i += 4) {  // columns 2t * kChunks + i
      gpu::Floats4 quad;
      TF_UNROLL for (int j = 0; j < 4; ++j) quad.f[j] = sums[(i + j) % kChunks][2 * half + (i + j) / kChunks];
      quads[i / 4] = quad;
    }
  }
}

// Outputs of a tile as the threads of the block share them: kItems each at most.
template <typename Shape>
struct TileOutputs {
  static constexpr int kItems = kTileRows * Shape::kColumns / kFewThreads;

  TF_DEVICE TileOutputs(const LinearEpilogue& epilogue, int all_rows)
      : epilogue(epilogue),
        all_rows(all_rows),
        features(epilogue.gated ? Shape::kColumns / 2 : Shape::kColumns),
        first_feature(gpu::BlockX() / Shape::kParts * epilogue.PanelFeatures() +
                      gpu::BlockX() % Shape::kParts * features) {}

  // Calls f(item, row of the tile, column of the block).
  template <typename F>
  TF_DEVICE void ForEach(int tile, const F& f) const {
    TF_UNROLL for (int item = 0; item < kItems; ++item) {
      const int i = item * kFewThreads + gpu::ThreadIndex();
      const int row = epilogue.gated ? i / (Shape::kColumns / 2) : i / Shape::kColumns;
      const int column = i - row * features;
      if (tile * kTileRows + row < all_rows && row < kTileRows && first_feature + column < epilogue.out_features) {
        f(item, row, column);
      }
    }
  }

  TF_DEVICE void LoadResiduals(int tile, float (&residuals)[kItems]) const {
    ForEach(tile, [&](int item, int row, int column) {
      residuals[item] = LoadResidual(epilogue, tile * kTileRows + row, first_feature + column);
    });
  }

  // Adds the warps' sums of the tile, which lie `offset` bytes into their rings.
  TF_DEVICE void Finish(int tile, int offset, const float (&residuals)[kItems]) const {
    const auto sum = [&](int row, int column) {
      const float* const from = gpu::Shared<float>(offset) + row * Shape::kSumStride + column;
      float total = *from;
      TF_UNROLL for (int warp = 1; warp < kFewWarps; ++warp) {
        total += from[warp * (Shape::kRingBytes / static_cast<int>(sizeof(float)))];
      }
      return total;
    };
    ForEach(tile, [&](int item, int row, int column) {
      FinishOutput(epilogue, tile * kTileRows + row, first_feature + column, sum(row, column),
                   epilogue.gated ? sum(row, features + column) : 0.0f, residuals[item]);
    });
  }

  const LinearEpilogue& epilogue;
  const int all_rows;
  const int features;           // of the block
  const int64_t first_feature;  // of the block
};

template <typename T, int kChunks, int kTiles, bool kDirect>
TF_KERNEL_OCCUPANCY(kFewThreads, kTiles <= 2 ? 2 : 1)
FewRowsKernel(FewRowsArgs<T> args) {
  using Shape = FewRowsShape<kChunks, kTiles, kDirect>;
  std::byte* const ring = gpu::Shared<std::byte>(gpu::WarpIndex() * Shape::kRingBytes);
  std::byte* const lane_ring = ring + gpu::LaneIndex() * 16;
  StepCopies<T, kChunks, kTiles, kDirect> copies(args);
  const int all_steps = static_cast<int>((args.in_features + kStepInputs - 1) / kStepInputs);
  const int steps = (all_steps - gpu::WarpIndex() + kFewWarps - 1) / kFewWarps;  // of this warp
  // Weights do not wait for the kernel that writes x: no kernel writes weights (linear.h). They are all of the first
  // group.
  TF_UNROLL for (int i = 0; i + 1 < Shape::kStages; ++i) {
    if (i < steps) copies.StartWeights(lane_ring + i * Shape::kStageBytes);
  }
  gpu::AwaitPrevious();
  TF_UNROLL for (int i = 0; i + 1 < Shape::kStages; ++i) {
    if (i < steps) copies.StartX(lane_ring + i * Shape::kStageBytes);
    gpu::CommitCopies();
  }
  gpu::AllowNext();
  const TileOutputs<Shape> outputs(args.epilogue, args.rows);
  float residuals[TileOutputs<Shape>::kItems] = {};
  outputs.LoadResiduals(0, residuals);

  float sums[kTiles][kChunks][4] = {};
  const auto next = [](int offset) {
    return offset + Shape::kStageBytes == Shape::kRingBytes ? 0 : offset + Shape::kStageBytes;
  };
  int used = 0, filled = (Shape::kStages - 1) * Shape::kStageBytes;
  for (int i = 0; i < steps; ++i) {
    gpu::WaitCopies<Shape::kStages - 2>();
    gpu::SyncWarp();  // this step's pieces of all lanes are there; none still reads the stage before, filled now
    if (i + Shape::kStages - 1 < steps) copies.StartNext(lane_ring + filled);
    gpu::CommitCopies();
    MultiplyStep<T, kChunks, kTiles, kDirect>(ring + used, sums);
    used = next(used), filled = next(filled);
  }

  gpu::SyncWarp();
  TF_UNROLL for (int tile = 0; tile < kTiles; ++tile) {  // in two places in turn: one barrier each is enough
    const int offset = tile % 2 * Shape::kTileSumBytes;
    if (tile > 0) outputs.LoadResiduals(tile, residuals);
    StoreTile<Shape>(sums[tile], args.rows - tile * kTileRows, reinterpret_cast<float*>(ring + offset));
    gpu::SyncThreads();
    outputs.Finish(tile, offset, residuals);
  }
}

}  // namespace triforce
