// What a warp does in AttentionPrefill's kernel for tensor cores (attention_prefill_cuda.cu), step by step of keys. For
// .cu files only.
//
// A warp has one or two tiles of 16 rows. Of its scores and outputs thread (g, t) = (lane / 4, lane % 4) holds those of
// rows g and g + 8 of each tile, and of each 8 keys or columns the two from 2 t on: as mma gives them, and as it takes
// weights. With two tiles each operand that is loaded serves two products.
#pragma once

#include "kernels/ops/attention_prefill.h"

namespace triforce::prefill {

inline constexpr int kStep = 64;        // keys
inline constexpr int kAhead = 4;        // operands of keys in registers: one at work, the others on their way
inline constexpr int kQueryWords = 32;  // of a thread, in registers; where it has more, they lie in shared memory
inline constexpr int kTileRows = 16;

// Weights are 2^(score - base), a row's largest at first 2^kLift and at most 2^kHeadroom. So f16 holds weights down to
// 2^-24, and base, and with it all sums, seldom move.
inline constexpr float kLift = 7;
inline constexpr float kHeadroom = 15;

template <typename T, int kDim, int kWarpCount, int kTileCount, int kStageCount>
struct Shape {
  using Type = T;
  static constexpr int kHeadDim = kDim;
  static constexpr int kDepth = kDim / 16;   // products along head_dim
  static constexpr int kTiles = kTileCount;  // of a warp
  static constexpr int kThreads = kWarpCount * gpu::kWarpThreads;
  static constexpr int kBlocks = 256 / kThreads;  // of a multiprocessor: 255 registers a thread
  static constexpr int kStages = kStageCount;     // in shared memory: one step at work, the others on their way
  static constexpr int kWarpRows = kTiles * kTileRows;
  static constexpr int kRows = kWarpCount * kWarpRows;
  // A stage: keys as they lie in the KV, values in rows that are 16 bytes longer, so that any eight that follow one
  // another lie in different banks.
  static constexpr int kKeyBytes = kStep * kDim * 2;
  static constexpr int kValueRowBytes = kDim * 2 + 16;
  static constexpr int kStageBytes = kKeyBytes + kStep * kValueRowBytes;
  static constexpr bool kSharedQueries = kTiles * kDepth * 4 > kQueryWords;
  static constexpr int kQueryOffset = kStages * kStageBytes;
  static constexpr int kSharedBytes = kQueryOffset + (kSharedQueries ? kRows * kDim * 2 : 0);
};

// The queries of a warp as operands. Each thread has its own, in shared memory too.
template <typename S>
class Queries {
 public:
  TF_DEVICE Queries(const PrefillWork<typename S::Type>& work, int head, int first_row) {
    const int g = gpu::LaneIndex() / 4, t = gpu::LaneIndex() % 4;
    TF_UNROLL
    for (int tile = 0; tile < S::kTiles; ++tile) {
      const int row = first_row + tile * kTileRows + g;
      const float* const rows[2] = {work.Query(row, head) + 2 * t, work.Query(row + 8, head) + 2 * t};
      TF_UNROLL
      for (int depth = 0; depth < S::kDepth; ++depth) {
        gpu::Words4 words;
        TF_UNROLL
        for (int i = 0; i < 4; ++i) {
          const float* const pair = rows[i % 2] + depth * 16 + i / 2 * 8;
          words.w[i] = gpu::Pack<typename S::Type>(pair[0] * work.scale, pair[1] * work.scale);
        }
        At(tile, depth) = words;
      }
    }
  }

  TF_DEVICE void Read(int tile, int depth, uint32_t (&words)[4]) {
    const gpu::Words4 from = At(tile, depth);
    TF_UNROLL
    for (int i = 0; i < 4; ++i) words[i] = from.w[i];
  }

 private:
  TF_DEVICE gpu::Words4& At(int tile, int depth) {
    const int i = tile * S::kDepth + depth;
    if constexpr (S::kSharedQueries) {
      return gpu::Shared<gpu::Words4>(S::kQueryOffset)[i * S::kThreads + gpu::ThreadIndex()];
    } else {
      return words_[i];
    }
  }

  gpu::Words4 words_[S::kSharedQueries ? 1 : S::kTiles * S::kDepth];
};

// Of a step: scores, then weights.
template <typename S>
using Scores = float[S::kTiles][kStep / 8][4];

// Of all steps so far.
template <typename S>
struct State {
  float out[S::kTiles][S::kHeadDim / 8][4] = {};
  float base[S::kTiles][2];
  float sum[S::kTiles][2] = {};  // of this thread's keys
};

// scores += q.k. What the threads load of a tile of keys lies as the tile does, in 32 banks.
template <typename S>
TF_DEVICE void AddScores(Scores<S>& scores, Queries<S>& queries, const std::byte* keys) {
  constexpr int kKeyTiles = kStep / kKeyTile, kProducts = kKeyTiles * S::kDepth;
  const int g = gpu::LaneIndex() / 4, t = gpu::LaneIndex() % 4;
  const auto* const words = reinterpret_cast<const uint32_t*>(keys) + t * kKeyTile + g;
  uint32_t a[S::kTiles][4], b[kAhead][2];
  const auto load = [&](int i) {
    const uint32_t* const from = words + (i % kKeyTiles * S::kHeadDim / 2 + i / kKeyTiles * 8) * kKeyTile;
    b[i % kAhead][0] = from[0];
    b[i % kAhead][1] = from[4 * kKeyTile];
  };
  TF_UNROLL
  for (int i = 0; i < kAhead - 1; ++i) load(i);
  TF_UNROLL
  for (int i = 0; i < kProducts; ++i) {
    if (i + kAhead - 1 < kProducts) load(i + kAhead - 1);
    TF_UNROLL
    for (int tile = 0; tile < S::kTiles; ++tile) {
      if (i % kKeyTiles == 0) queries.Read(tile, i / kKeyTiles, a[tile]);
      gpu::Mma16816<typename S::Type>(scores[tile][i % kKeyTiles], a[tile], b[i % kAhead]);
    }
  }
}

// Gives keys that a row does not see the score kUnseen. The warp's first row sees `seen` keys of the step, each row
// `growth` more than the one before.
template <typename S>
TF_DEVICE void MaskScores(Scores<S>& scores, int seen, int growth) {
  const int g = gpu::LaneIndex() / 4, t = gpu::LaneIndex() % 4;
  TF_UNROLL
  for (int tile = 0; tile < S::kTiles; ++tile) {
    TF_UNROLL
    for (int half = 0; half < 2; ++half) {
      const int end = seen + growth * (tile * kTileRows + half * 8 + g) - 2 * t;
      TF_UNROLL
      for (int i = 0; i < kStep / 4; ++i) {
        if (i / 2 * 8 + i % 2 >= end) scores[tile][i / 2][half * 2 + i % 2] = kUnseen;
      }
    }
  }
}

// Makes weights of scores.
template <typename S>
TF_DEVICE void Weigh(State<S>& state, Scores<S>& scores) {
  float correction[S::kTiles][2];
  bool moved = false;
  TF_UNROLL
  for (int tile = 0; tile < S::kTiles; ++tile) {
    TF_UNROLL
    for (int half = 0; half < 2; ++half) {
      float most = scores[tile][0][half * 2];
      TF_UNROLL
      for (int i = 1; i < kStep / 4; ++i) most = gpu::Max(most, scores[tile][i / 2][half * 2 + i % 2]);
      most = gpu::Max(most, gpu::ShuffleXor(most, 1));
      most = gpu::Max(most, gpu::ShuffleXor(most, 2));
      const float old = state.base[tile][half], base = most > old + kHeadroom ? most - kLift : old;
      float sum = 0;
      TF_UNROLL
      for (int i = 0; i < kStep / 4; ++i) {
        float& score = scores[tile][i / 2][half * 2 + i % 2];
        score = gpu::Exp2(score - base);
        sum += score;
      }
      correction[tile][half] = gpu::Exp2(old - base);
      moved = moved || base != old;
      state.base[tile][half] = base;
      state.sum[tile][half] = state.sum[tile][half] * correction[tile][half] + sum;
    }
  }
  if (!gpu::Any(moved)) return;  // all corrections are 1
  TF_UNROLL
  for (int tile = 0; tile < S::kTiles; ++tile) {
    TF_UNROLL
    for (int n = 0; n < S::kHeadDim / 8; ++n) {
      TF_UNROLL
      for (int i = 0; i < 4; ++i) state.out[tile][n][i] *= correction[tile][i / 2];
    }
  }
}

// out += weights * values. Operands are 16 keys of 16 columns; each is loaded while the one before is at work.
template <typename S>
TF_DEVICE void AddValues(State<S>& state, const Scores<S>& weights, const std::byte* values) {
  constexpr int kProducts = kStep / 16 * S::kDepth;
  values += gpu::LaneIndex() % 16 * S::kValueRowBytes + gpu::LaneIndex() / 16 * 16;  // that this thread names
  uint32_t a[S::kTiles][4], b[2][4];
  const auto load = [&](int i) {
    gpu::LoadMatrix4Transposed(b[i % 2], values + i / S::kDepth * (16 * S::kValueRowBytes) + i % S::kDepth * 32);
  };
  load(0);
  TF_UNROLL
  for (int i = 0; i < kProducts; ++i) {
    if (i + 1 < kProducts) load(i + 1);
    const int n = i % S::kDepth * 2;
    TF_UNROLL
    for (int tile = 0; tile < S::kTiles; ++tile) {
      TF_UNROLL
      for (int k = 0; n == 0 && k < 4; ++k) {
        const float* const pair = &weights[tile][i / S::kDepth * 2 + k / 2][k % 2 * 2];
        a[tile][k] = gpu::Pack<typename S::Type>(pair[0], pair[1]);
      }
      gpu::Mma16816<typename S::Type>(state.out[tile][n], a[tile], {b[i % 2][0], b[i % 2][1]});
      gpu::Mma16816<typename S::Type>(state.out[tile][n + 1], a[tile], {b[i % 2][2], b[i % 2][3]});
    }
  }
}

// Writes the outputs of the warp's rows, divided by their sums of weights.
template <typename S>
TF_DEVICE void StoreRows(const PrefillWork<typename S::Type>& work, const State<S>& state, int head, int first_row) {
  const int g = gpu::LaneIndex() / 4, t = gpu::LaneIndex() % 4;
  TF_UNROLL
  for (int tile = 0; tile < S::kTiles; ++tile) {
    TF_UNROLL
    for (int half = 0; half < 2; ++half) {
      float sum = state.sum[tile][half];
      sum += gpu::ShuffleXor(sum, 1);
      sum += gpu::ShuffleXor(sum, 2);
      const float factor = sum == 0 ? 0 : 1 / sum;
      const int row = first_row + tile * kTileRows + half * 8 + g;
      if (row >= work.rows) continue;
      float* const out = work.Out(row, head) + 2 * t;
      TF_UNROLL
      for (int n = 0; n < S::kHeadDim / 8; ++n) {
        out[n * 8] = state.out[tile][n][half * 2] * factor;
        out[n * 8 + 1] = state.out[tile][n][half * 2 + 1] * factor;
      }
    }
  }
}

}  // namespace triforce::prefill
