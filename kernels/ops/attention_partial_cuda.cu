// AttentionPartial on CUDA for 16-bit KV with heads of 64 or 128: each byte of the KV goes once from memory to where
// the tensor cores take it, past no transposition (attention_stream.h).
//
// A block of threads takes one entry and 16, 32 or 64 query vectors in tiles of 16. The keys are shared among kParts
// parts, the tiles among the warps of a part. A warp has the scores of all its keys in registers before it needs room
// for outputs: the softmax is one step, without rescaling. Parts are merged in shared memory, in order.
//
// The bits of a query vector depend on no other: the order of its sums is that of the keys in their parts, whatever the
// number of tiles; keys that it does not see have weight 0. Values of keys that some vector of a block sees must be
// finite, or they reach those that do not see them, as 0 * infinity.
#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/core/gpu_launch.h"
#include "kernels/ops/attention.h"
#include "kernels/ops/attention_partial.h"
#include "kernels/ops/attention_stream.h"
#include "kernels/ops/device_scalar.h"

namespace triforce {

// attention_partial_plain_cuda.cu
void AttentionPartialPlainCuda(CudaLane& lane, DType dtype, int64_t entries, const PartialWork& work);

namespace {

using namespace partial;

constexpr int kMaxTiles = 4;                // of a block
constexpr int kWarpsOnMultiprocessor = 16;  // of 128 registers
constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

// Weights are 2^(score - largest) * 2^kLift, so that f16 holds the small ones, too.
constexpr int kLift = 8;

// Writes the block's query vectors, from `first` on, to shared memory as operands of mma. Those behind the last are 0.
template <typename T, typename S>
TF_DEVICE void StoreQueries(const PartialWork& work, const PartialEntry& entry, int first) {
  const float sign = work.scale < 0 ? -1.0f : 1.0f;
  for (int i = gpu::ThreadIndex(); i < S::kTiles * S::kDepth * gpu::kWarpThreads; i += gpu::BlockThreads()) {
    const int lane = i % gpu::kWarpThreads, depth = i / gpu::kWarpThreads % S::kDepth;
    const int tile = i / gpu::kWarpThreads / S::kDepth;
    gpu::Words4 words = {};
    TF_UNROLL
    for (int half = 0; half < 2; ++half) {
      const int n = first + tile * kTileVectors + half * 8 + lane / 4;
      if (n >= work.vectors) continue;
      const float* const q = entry.Query(n) + depth * 16 + lane % 4 * 2;
      words.w[half] = gpu::Pack<T>(sign * q[0], sign * q[1]);
      words.w[2 + half] = gpu::Pack<T>(sign * q[8], sign * q[9]);
    }
    gpu::Shared<gpu::Words4>(S::kQueries)[i] = words;
  }
}

// What a thread has of its warp's part: of vectors g and g + 8 of the tile, keys 8t to 8t + 7 of each group.
using Scores = float[kGroups][4][4];      // [.., j, i]: vector g + 8 (i / 2), key 8t + 4 (i % 2) + j
using Weights = uint32_t[kGroups][2][4];  // [.., s, ..]: a operands
struct Softmax {
  float max[2], sum[2];  // of the raw scores; of the weights: of vectors g and g + 8
};

template <typename T, typename S>
TF_DEVICE void AddScores(const Stream<S>& stream, int tile, Scores& scores) {
  const gpu::Words4* const queries =
      gpu::Shared<gpu::Words4>(S::kQueries) + tile * (S::kDepth * gpu::kWarpThreads) + gpu::LaneIndex();
  TF_UNROLL
  for (int n = 0; n < S::kAll / 2; ++n) {
    stream.Await(n);
    const int group = n / S::kBundles;
    if (!stream.Has(group)) continue;
    TF_UNROLL
    for (int half = 0; half < 2; ++half) {
      const gpu::Words4 q = queries[(n % S::kBundles * 2 + half) * gpu::kWarpThreads];
      const gpu::Words4 low = stream.Read(n, 2 * half), high = stream.Read(n, 2 * half + 1);
      TF_UNROLL
      for (int j = 0; j < 4; ++j) {
        const uint32_t b[2] = {low.w[j], high.w[j]};
        gpu::Mma16816<T>(scores[group][j], q.w, b);
      }
    }
  }
}

// Gives keys that a vector does not see the score -infinity. `seen`: by vectors g and g + 8, and by the tile's first,
// which sees least; all counted from the part's first key.
TF_DEVICE void Mask(const int (&seen)[2], int least_seen, Scores& scores) {
  const int t = gpu::LaneIndex() % 4;
  TF_UNROLL
  for (int group = 0; group < kGroups; ++group) {
    const int first = group * (kParts * kGroupKeys);
    if (first + kGroupKeys <= least_seen) continue;
    TF_UNROLL
    for (int j = 0; j < 4; ++j) {
      TF_UNROLL
      for (int i = 0; i < 4; ++i) {
        if (first + 8 * t + i % 2 * 4 + j >= seen[i / 2]) scores[group][j][i] = kMinusInfinity;
      }
    }
  }
}

template <typename T>
TF_DEVICE Softmax SoftmaxOf(Scores& scores, float scale, Weights& weights) {
  Softmax softmax = {{kMinusInfinity, kMinusInfinity}, {0, 0}};
  float offset[2];
  TF_UNROLL
  for (int half = 0; half < 2; ++half) {
    float& max = softmax.max[half];
    TF_UNROLL
    for (int group = 0; group < kGroups; ++group) {
      TF_UNROLL
      for (int i = 0; i < 8; ++i) max = gpu::Max(max, scores[group][i % 4][half * 2 + i / 4]);
    }
    max = gpu::Max(max, gpu::ShuffleXor(max, 1));
    max = gpu::Max(max, gpu::ShuffleXor(max, 2));
    offset[half] = max == kMinusInfinity ? 0 : kLift - max * scale;
  }
  TF_UNROLL
  for (int half = 0; half < 2; ++half) {
    float& sum = softmax.sum[half];
    TF_UNROLL
    for (int group = 0; group < kGroups; ++group) {
      TF_UNROLL
      for (int s = 0; s < 2; ++s) {
        float w[4];
        TF_UNROLL
        for (int j = 0; j < 4; ++j) {
          w[j] = gpu::Exp2(gpu::Fma(scores[group][j][half * 2 + s], scale, offset[half]));
          sum += w[j];
        }
        weights[group][s][half] = gpu::Pack<T>(w[0], w[1]);
        weights[group][s][2 + half] = gpu::Pack<T>(w[2], w[3]);
      }
    }
    sum += gpu::ShuffleXor(sum, 1);
    sum += gpu::ShuffleXor(sum, 2);
  }
  return softmax;
}

// [column, j, i]: vector g + 8 (i / 2), element 64 column + 16t + 8 (i % 2) + j.
template <typename S>
using Out = float[S::kColumns][8][4];

template <typename T, typename S>
TF_DEVICE void AddValues(const Stream<S>& stream, const Weights& weights, Out<S>& out) {
  TF_UNROLL
  for (int n = S::kAll / 2; n < S::kAll; ++n) {
    stream.Await(n);
    const int group = n / S::kBundles - kGroups, s = n % S::kBundles / S::kColumns, column = n % S::kColumns;
    if (!stream.Has(group)) continue;
    gpu::Words4 value[4];
    TF_UNROLL
    for (int i = 0; i < 4; ++i) value[i] = stream.Read(n, i);
    TF_UNROLL
    for (int j = 0; j < 8; ++j) {
      const uint32_t halves = j % 2 == 0 ? 0x5410 : 0x7632;
      const uint32_t b[2] = {gpu::Permute(value[0].w[j / 2], value[1].w[j / 2], halves),
                             gpu::Permute(value[2].w[j / 2], value[3].w[j / 2], halves)};
      gpu::Mma16816<T>(out[column][j], weights[group][s], b);
    }
  }
}

// Of a thread's outputs, piece `piece` of S::kOutPieces: of vector g + 8 half, 4 elements from 16t + 4 quarter on.
struct OutPiece {
  int column, half, quarter;
  TF_DEVICE explicit OutPiece(int piece) : column(piece / 8), half(piece / 4 % 2), quarter(piece % 4) {}
};

template <typename S>
TF_DEVICE void StoreOut(const Out<S>& out, int part) {
  TF_UNROLL
  for (int i = 0; i < S::kOutPieces; ++i) {
    const OutPiece piece(i);
    gpu::Floats4 floats;
    TF_UNROLL
    for (int k = 0; k < 4; ++k) {
      floats.f[k] = out[piece.column][piece.quarter % 2 * 4 + k][piece.half * 2 + piece.quarter / 2];
    }
    gpu::Shared<gpu::Floats4>(S::kOut)[(part * S::kOutPieces + i) * gpu::kWarpThreads + gpu::LaneIndex()] = floats;
  }
}

// How parts are merged, for one query vector.
struct Merge {
  float max = kMinusInfinity;  // of the raw scores
  float factor[kParts];        // of each part's sum and outputs

  // `maxima`: of the vector, kTileVectors from part to part.
  TF_DEVICE Merge(const float* maxima, float scale) {
    TF_UNROLL
    for (int part = 0; part < kParts; ++part) max = gpu::Max(max, maxima[part * kTileVectors]);
    const float offset = max == kMinusInfinity ? 0 : max * scale;
    TF_UNROLL
    for (int part = 0; part < kParts; ++part) {
      factor[part] = gpu::Exp2(gpu::Fma(maxima[part * kTileVectors], scale, -offset)) * (1.0f / (1 << kLift));
    }
  }
};

// Writes a tile's partials, whose parts lie in shared memory; `first` is its first query vector.
template <typename S>
TF_DEVICE void WriteTile(const PartialWork& work, const PartialEntry& entry, int first, int tile, float scale) {
  constexpr float kLn2 = 0.693147180559945309f;
  constexpr int kEach = std::max(1, S::kOutPieces / S::kWarps);
  const float* const maxima = gpu::Shared<float>(S::kMaxima) + tile * (kParts * kTileVectors);
  const float* const sums = gpu::Shared<float>(S::kSums) + tile * (kParts * kTileVectors);
  const int g = gpu::LaneIndex() / 4, t = gpu::LaneIndex() % 4;
  for (int i = gpu::WarpIndex() * kEach; i < (gpu::WarpIndex() + 1) * kEach && i < S::kOutPieces; ++i) {
    const OutPiece piece(i);
    const int n = g + 8 * piece.half;
    if (first + n >= work.vectors) continue;
    const Merge merge(maxima + n, scale);
    gpu::Floats4 total = {};
    TF_UNROLL
    for (int part = 0; part < kParts; ++part) {
      const gpu::Floats4 floats =
          gpu::Shared<gpu::Floats4>(S::kOut)[(part * S::kOutPieces + i) * gpu::kWarpThreads + gpu::LaneIndex()];
      TF_UNROLL
      for (int k = 0; k < 4; ++k) total.f[k] = gpu::Fma(floats.f[k], merge.factor[part], total.f[k]);
    }
    *reinterpret_cast<gpu::Floats4*>(work.out + entry.Place(first + n) * S::kHeadDim + piece.column * 64 + t * 16 +
                                     piece.quarter * 4) = total;
  }
  const int n = gpu::ThreadIndex();
  if (n < kTileVectors && first + n < work.vectors) {
    const Merge merge(maxima + n, scale);
    float sum = 0;
    TF_UNROLL
    for (int part = 0; part < kParts; ++part) sum = gpu::Fma(sums[part * kTileVectors + n], merge.factor[part], sum);
    work.max[entry.Place(first + n)] = merge.max * scale * kLn2;
    work.sum[entry.Place(first + n)] = sum;
  }
}

template <typename T, int kHeadDim, int kTiles>
TF_KERNEL_OCCUPANCY(kParts* kTiles* gpu::kWarpThreads, kWarpsOnMultiprocessor / (kParts * kTiles))
PartialKernel(PartialWork work) {
  using S = Shape<kHeadDim, kTiles>;
  const int blocks = (work.vectors + kTiles * kTileVectors - 1) / (kTiles * kTileVectors);  // of an entry
  const int block = static_cast<int>(gpu::BlockX());
  const PartialEntry entry(work, block / blocks);
  const int first = block % blocks * (kTiles * kTileVectors);
  const int tile = gpu::WarpIndex() % kTiles, part = gpu::WarpIndex() / kTiles;
  const int lane = gpu::LaneIndex(), g = lane / 4, tile_first = first + tile * kTileVectors;

  const int seen = entry.Seen(first + kTiles * kTileVectors - 1);
  entry.ListTiles(seen, gpu::Shared<int64_t>(S::kTable));
  gpu::SyncThreads();
  const Stream<S> stream(part, tile, seen);
  stream.Begin();
  StoreQueries<T, S>(work, entry, first);
  gpu::SyncThreads();

  Scores scores = {};
  AddScores<T, S>(stream, tile, scores);
  const int part_first = part * kGroupKeys;
  Mask({entry.Seen(tile_first + g) - part_first, entry.Seen(tile_first + g + 8) - part_first},
       entry.Seen(tile_first) - part_first, scores);
  const float scale = std::abs(work.scale);
  Weights weights;
  const Softmax softmax = SoftmaxOf<T>(scores, scale, weights);
  if (lane % 4 == 0) {
    const int at = (tile * kParts + part) * kTileVectors + g;
    TF_UNROLL
    for (int half = 0; half < 2; ++half) {
      gpu::Shared<float>(S::kMaxima)[at + 8 * half] = softmax.max[half];
      gpu::Shared<float>(S::kSums)[at + 8 * half] = softmax.sum[half];
    }
  }
  Out<S> out = {};
  AddValues<T, S>(stream, weights, out);
  for (int turn = 0; turn < kTiles; ++turn) {
    gpu::SyncThreads();  // the ring, or the tile before, has been read
    if (tile == turn) StoreOut<S>(out, part);
    gpu::SyncThreads();
    WriteTile<S>(work, entry, first + turn * kTileVectors, turn, scale);
  }
}

template <typename T, int kHeadDim>
void PartialOf(CudaLane& lane, int64_t entries, const PartialWork& work) {
  const auto launch = [&]<int kTiles>() {
    using S = Shape<kHeadDim, kTiles>;
    constexpr int kVectors = kTiles * kTileVectors;
    Launch<PartialKernel<T, kHeadDim, kTiles>>(lane, "attention",
                                               {.x = entries * ((work.vectors + kVectors - 1) / kVectors),
                                                .threads = S::kWarps * gpu::kWarpThreads,
                                                .shared_bytes = S::kBytes},
                                               work);
  };
  if (work.vectors <= kTileVectors) return launch.template operator()<1>();
  if (work.vectors <= 2 * kTileVectors) return launch.template operator()<2>();
  launch.template operator()<kMaxTiles>();
}

PartialWork WorkOf(const AttentionArgs& args, const AttentionPartials& partials) {
  TF_CHECK(args.kv.first_entry + args.kv.entries() <= std::numeric_limits<int32_t>::max() &&
           args.rows() * args.group() <= std::numeric_limits<int32_t>::max());
  // Never quite 0, which times the -infinity of a key that is not seen would be NaN.
  const float scale = std::copysign(
      std::max(std::abs(args.scale * 1.442695040888963407f), std::numeric_limits<float>::min()), args.scale);
  return {.q = args.q.as<float>(),
          .q_stride = args.q.stride(0),
          .keys = reinterpret_cast<int64_t>(args.kv.blocks.data()),
          .tiles = args.kv.scattered() ? args.kv.tiles.as<int64_t>() : nullptr,
          .tile_bytes = kKeyTile * args.kv.head_dim() * SizeOf(args.kv.dtype()),
          .out = partials.out.as<float>(),
          .max = partials.max.as<float>(),
          .sum = partials.sum.as<float>(),
          .visible = args.visible,
          .base = AddressOfScalar(args.base),
          .first_entry = static_cast<int32_t>(args.kv.first_entry),
          .kv_heads = static_cast<int32_t>(args.kv.kv_heads),
          .head_dim = static_cast<int32_t>(args.kv.head_dim()),
          .causal = args.causal,
          .group = static_cast<int32_t>(args.group()),
          .vectors = static_cast<int32_t>(args.rows() * args.group()),
          .scale = scale};
}

}  // namespace

void AttentionPartialCuda(CudaLane& lane, const AttentionArgs& args, const AttentionPartials& partials) {
  const PartialWork work = WorkOf(args, partials);
  const DType dtype = args.kv.dtype();
  const int64_t entries = args.kv.entries();
  if (dtype == DType::kF32 || (work.head_dim != 64 && work.head_dim != 128)) {
    return AttentionPartialPlainCuda(lane, dtype, entries, work);
  }
  TF_CHECK((work.tiles != nullptr || work.keys % 16 == 0) && reinterpret_cast<uintptr_t>(work.out) % 16 == 0);
  const auto partial = [&]<typename T>(T) {
    work.head_dim == 64 ? PartialOf<T, 64>(lane, entries, work) : PartialOf<T, 128>(lane, entries, work);
  };
  dtype == DType::kF16 ? partial(F16{}) : partial(BF16{});
}

}  // namespace triforce
