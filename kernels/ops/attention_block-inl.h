// The unit of attention's work on the CPU: a block of keys of one kv_head against a tile of query vectors: scores with
// lanes over keys, softmax within the block, then values with lanes over head_dim. Every query vector goes through the
// same steps in the same order whatever tile it is in, so its bits depend on it alone.
//
// Included once per SIMD target, after hwy/foreach_target.h.

#if defined(TRIFORCE_KERNELS_OPS_ATTENTION_BLOCK_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TRIFORCE_KERNELS_OPS_ATTENTION_BLOCK_INL_H_
#undef TRIFORCE_KERNELS_OPS_ATTENTION_BLOCK_INL_H_
#else
#define TRIFORCE_KERNELS_OPS_ATTENTION_BLOCK_INL_H_
#endif

#include <hwy/contrib/math/math-inl.h>
#include <hwy/highway.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <limits>

#include "kernels/ops/kv_view.h"
#include "kernels/ops/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace triforce {
namespace HWY_NAMESPACE {

// Query vectors that share one pass over a tile of keys: their sums fill three quarters of the registers.
inline constexpr int kQueryTile = kLanes == 16 ? 12 : 6;
inline constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

// A block of one kv_head's keys and values: where its tiles lie.
template <typename T>
struct Block {
  const T* keys[kBlockTiles];
  const T* values[kBlockTiles];
  int64_t head_dim = 0;
};

// Entry `entry` of the view, its first `tokens` tokens.
template <typename T>
Block<T> BlockOf(const KvView& kv, int64_t entry, int64_t tokens) {
  Block<T> block;
  block.head_dim = kv.head_dim();
  if (kv.scattered()) {
    const int64_t* const tiles = kv.tiles.as<int64_t>() + entry * kBlockTiles;
    for (int64_t tile = 0; tile * kKeyTile < tokens; ++tile) {
      block.keys[tile] = reinterpret_cast<const T*>(tiles[tile]);
      block.values[tile] = block.keys[tile] + kKvBlock * block.head_dim;
    }
    return block;
  }
  const T* const keys = KeysOf<T>(kv, entry);
  const T* const values = ValuesOf<T>(kv, entry);
  for (int64_t token = 0; token < tokens; token += kKeyTile) {
    block.keys[token / kKeyTile] = keys + token * block.head_dim;
    block.values[token / kKeyTile] = values + token * block.head_dim;
  }
  return block;
}

// Query vectors of one tile, and what a block gives them.
struct Tile {
  const float* q[kQueryTile];
  int64_t visible[kQueryTile];  // keys of the block
  float* out[kQueryTile];       // [head_dim]
  float max[kQueryTile];
  float sum[kQueryTile];
};

// Two neighbouring elements of a query, over and over: beside the pairs of a key tile. `vector` counts within 16 lanes.
HWY_INLINE FloatVec QueryPair(const float* q, [[maybe_unused]] int vector) {
#if HWY_TARGET == HWY_SCALAR
  return hn::Set(FloatTag(), q[vector % 2]);
#else
  double pair;
  std::memcpy(&pair, q, sizeof(pair));
  return hn::BitCast(FloatTag(), hn::Set(hn::RepartitionToWide<FloatTag>(), pair));
#endif
}

// Each key's sum of even elements plus its sum of odd ones, times scale, for the kKeyTile keys of `acc`.
HWY_INLINE void StoreScores(const FloatVec* acc, float scale, float* HWY_RESTRICT scores) {
  const FloatTag d;
#if HWY_TARGET == HWY_SCALAR
  for (int64_t key = 0; key < kKeyTile; ++key) {
    StoreFloats(hn::Mul(hn::Add(acc[2 * key], acc[2 * key + 1]), hn::Set(d, scale)), scores + key);
  }
#elif HWY_CAP_GE512
  const hn::Half<FloatTag> half;
  const FloatVec sums = hn::Add(hn::ConcatEven(d, acc[0], acc[0]), hn::ConcatOdd(d, acc[0], acc[0]));
  hn::StoreU(hn::Mul(hn::LowerHalf(half, sums), hn::Set(half, scale)), half, scores);
#else
  static_assert(kLanes == kKeyTile);
  const FloatVec sums = hn::Add(hn::ConcatEven(d, acc[1], acc[0]), hn::ConcatOdd(d, acc[1], acc[0]));
  StoreFloats(hn::Mul(sums, hn::Set(d, scale)), scores);
#endif
}

// scores[r][key] = scale * q[r].key for the keys of `tiles` tiles; scores' rows are kKvBlock apart. One tile after
// another, so that memory is read in one sequence: eight interleaved tiles were three times slower (docs/decisions.md).
template <int kQueries, typename T>
HWY_INLINE void Scores(const Tile& tile, const Block<T>& block, int64_t tiles, float scale,
                       float* HWY_RESTRICT scores) {
  constexpr int kVectors = 2 * kKeyTile / kLanes;
  for (int64_t t = 0; t < tiles; ++t) {
    const T* HWY_RESTRICT keys = block.keys[t];
    FloatVec acc[kQueries][kVectors];
    for (int r = 0; r < kQueries; ++r) {
      for (int v = 0; v < kVectors; ++v) acc[r][v] = hn::Zero(FloatTag());
    }
    for (int64_t i = 0; i < block.head_dim; i += 2, keys += 2 * kKeyTile) {
      FloatVec k[kVectors];
      for (int v = 0; v < kVectors; ++v) k[v] = LoadFloats(keys + v * kLanes);
      for (int r = 0; r < kQueries; ++r) {
        for (int v = 0; v < kVectors; ++v) acc[r][v] = hn::MulAdd(QueryPair(tile.q[r] + i, v), k[v], acc[r][v]);
      }
    }
    for (int r = 0; r < kQueries; ++r) StoreScores(acc[r], scale, scores + r * kKvBlock + t * kKeyTile);
  }
}

// Scores of the first `visible` keys of `keys` -> exp(score - max), of the others -> 0; gives max and sum. Writes up to
// the next multiple of kSumLanes.
HWY_INLINE void BlockSoftmax(float* HWY_RESTRICT scores, int64_t visible, int64_t keys, float* max, float* sum) {
  const FloatTag d;
  const int64_t padded = (keys + kSumLanes - 1) / kSumLanes * kSumLanes;
  std::fill(scores + visible, scores + padded, kMinusInfinity);
  FloatVec most = hn::Set(d, kMinusInfinity);
  for (int64_t i = 0; i < padded; i += kLanes) most = hn::Max(most, LoadFloats(scores + i));
  *max = hn::GetLane(hn::MaxOfLanes(d, most));
  *sum = 0;
  if (visible == 0) return std::fill(scores, scores + padded, 0.0f);
  LaneSum total;
  for (int64_t i = 0; i < padded; i += kLanes) {
    const FloatVec p = hn::Exp(d, hn::Sub(LoadFloats(scores + i), hn::Set(d, *max)));
    StoreFloats(p, scores + i);
    total.Add(i / kLanes, p);
  }
  *sum = total.Total();
}

// out[r][i] = sum over keys of p[r][key] * value[key][i], for kQueries query vectors and kVectors vectors of head_dim
// from element `first`.
template <int kQueries, int kVectors, typename T>
HWY_INLINE void ValueColumns(float* const* out, const Block<T>& block, int64_t keys, int64_t first, const float* p) {
  FloatVec acc[kQueries][kVectors];
  for (int r = 0; r < kQueries; ++r) {
    for (int v = 0; v < kVectors; ++v) acc[r][v] = hn::Zero(FloatTag());
  }
  for (int64_t key = 0; key < keys; key += kKeyTile) {
    const T* HWY_RESTRICT values = block.values[key / kKeyTile] + first;
    const int64_t end = std::min(keys, key + kKeyTile);
    for (int64_t k = key; k < end; ++k, values += block.head_dim) {
      FloatVec value[kVectors];
      for (int v = 0; v < kVectors; ++v) value[v] = LoadFloats(values + v * kLanes);
      for (int r = 0; r < kQueries; ++r) {
        const FloatVec weight = hn::Set(FloatTag(), p[r * kKvBlock + k]);
        for (int v = 0; v < kVectors; ++v) acc[r][v] = hn::MulAdd(weight, value[v], acc[r][v]);
      }
    }
  }
  for (int r = 0; r < kQueries; ++r) {
    for (int v = 0; v < kVectors; ++v) StoreFloats(acc[r][v], out[r] + first + v * kLanes);
  }
}

template <int kQueries, typename T>
HWY_INLINE void Values(float* const* out, const Block<T>& block, int64_t keys, const float* p) {
  // As many columns at a time as registers hold the sums of: whole rows of values are read in one sequence.
  constexpr int kVectors = kLanes == 16 ? (kQueries <= 2 ? 8 : 4) : (kQueries == 1 ? 8 : kQueries <= 3 ? 4 : 2);
  int64_t i = 0;
  for (; i + kVectors * kLanes <= block.head_dim; i += kVectors * kLanes) {
    ValueColumns<kQueries, kVectors>(out, block, keys, i, p);
  }
  if (kVectors > 4 && i + 4 * kLanes <= block.head_dim) {
    ValueColumns<kQueries, 4>(out, block, keys, i, p);
    i += 4 * kLanes;
  }
  for (; i + kLanes <= block.head_dim; i += kLanes) ValueColumns<kQueries, 1>(out, block, keys, i, p);
  for (; i < block.head_dim; ++i) {  // head_dim is no multiple of the vectors' width: rare, and few
    for (int r = 0; r < kQueries; ++r) {
      float sum = 0;
      for (int64_t key = 0; key < keys; ++key) {
        sum += p[r * kKvBlock + key] * ToF32(block.values[key / kKeyTile][key % kKeyTile * block.head_dim + i]);
      }
      out[r][i] = sum;
    }
  }
}

// Everything that one block gives to a tile of kQueries query vectors. `scores` has room for kQueryTile * kKvBlock.
template <int kQueries, typename T>
HWY_NOINLINE void TileTimesBlock(Tile& tile, const Block<T>& block, float scale, float* scores) {
  constexpr int kHalf = kQueries > 6 ? kQueries / 2 : kQueries;  // of the queries, whose values are summed at a time
  const int64_t keys = *std::max_element(tile.visible, tile.visible + kQueries);
  Scores<kQueries>(tile, block, (keys + kKeyTile - 1) / kKeyTile, scale, scores);
  for (int r = 0; r < kQueries; ++r)
    BlockSoftmax(scores + r * kKvBlock, tile.visible[r], keys, &tile.max[r], &tile.sum[r]);
  for (int r = 0; r < kQueries; r += kHalf) Values<kHalf>(tile.out + r, block, keys, scores + r * kKvBlock);
}

// The same for 1 to kQueryTile query vectors: those of the next larger shape there is. Entries past `queries` repeat
// the last one, which changes no bit of it.
template <typename T>
void TileTimesBlock(Tile& tile, int queries, const Block<T>& block, float scale, float* scores) {
  const auto run = [&]<int kQueries>() {
    for (int r = queries; r < kQueries; ++r) {
      tile.q[r] = tile.q[queries - 1];
      tile.visible[r] = tile.visible[queries - 1];
      tile.out[r] = tile.out[queries - 1];
    }
    TileTimesBlock<kQueries>(tile, block, scale, scores);
  };
  if (queries == 1) return run.template operator()<1>();
  if (queries == 2) return run.template operator()<2>();
  if (queries <= 4) return run.template operator()<4>();
  if (queries <= 6) return run.template operator()<6>();
  if constexpr (kQueryTile > 6) {
    if (queries <= 8) return run.template operator()<8>();
    return run.template operator()<kQueryTile>();
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace triforce
HWY_AFTER_NAMESPACE();

#endif  // TRIFORCE_KERNELS_OPS_ATTENTION_BLOCK_INL_H_
