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

#include <hwy/cache_control.h>
#include <hwy/contrib/math/math-inl.h>
#include <hwy/highway.h>

#include <algorithm>
#include <cstdint>
#include <limits>

#include "kernels/ops/kv_view.h"
#include "kernels/ops/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace triforce {
namespace HWY_NAMESPACE {

inline constexpr int64_t kQueryTile = 6;  // query vectors: 6 x 4 vectors of sums
inline constexpr int64_t kStep = 64;      // keys scored at a time
inline constexpr int64_t kStepTiles = kStep / kKeyTile;
inline constexpr int64_t kBlockTiles = kKvBlock / kKeyTile;
inline constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

// Vectors whose sums are kept at a time for `queries` query vectors, in registers (16 of them below AVX-512).
constexpr int VectorsAtATime(int queries) {
  if (kLanes == 16) return 4;
  return queries == 1 ? 8 : queries <= 3 ? 4 : 2;
}

// A block of one kv_head's keys and values: where its tiles lie. Tiles past the last one in use stand for it again, so
// that whole steps can be scored.
template <typename T>
struct Block {
  const T* keys[kBlockTiles];
  const T* values[kBlockTiles];
  int64_t first = 0;  // storage position
  int64_t head_dim = 0;
};

template <typename T>
Block<T> BlockOf(const KvView& kv, int64_t kv_head, int64_t first, int64_t tokens) {
  Block<T> block;
  block.first = first;
  block.head_dim = kv.head_dim();
  const int64_t tiles = (tokens + kKeyTile - 1) / kKeyTile;
  for (int64_t tile = 0; tile < kBlockTiles; ++tile) {
    const int64_t position = first + std::min(tile, tiles - 1) * kKeyTile;
    block.keys[tile] = KeyAt<T>(kv, kv_head, position);
    block.values[tile] = ValueAt<T>(kv, kv_head, position);
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

// Key elements `i` of kLanes keys, the first of them key `key` of the step.
template <typename T>
HWY_INLINE FloatVec LoadKeys(const T* const* tiles, int64_t key, int64_t i) {
#if HWY_CAP_GE512  // two tiles side by side
  const T* HWY_RESTRICT low = tiles[key / kKeyTile] + i * kKeyTile;
  const T* HWY_RESTRICT high = tiles[key / kKeyTile + 1] + i * kKeyTile;
  if constexpr (sizeof(T) == 4) {
    const hn::Half<FloatTag> half;
    return hn::Combine(FloatTag(), hn::LoadU(half, high), hn::LoadU(half, low));
  } else {
    const hn::Rebind<uint16_t, FloatTag> bits;
    const hn::Half<decltype(bits)> half;
    return WidenBits<T>(hn::Combine(bits, hn::LoadU(half, reinterpret_cast<const uint16_t*>(high)),
                                    hn::LoadU(half, reinterpret_cast<const uint16_t*>(low))));
  }
#else
  return LoadFloats(tiles[key / kKeyTile] + i * kKeyTile + key % kKeyTile);
#endif
}

// scores[r][key] = scale * q[r].key for the kStep keys of 8 tiles; scores' rows are kKvBlock apart.
template <int kQueries, typename T>
HWY_INLINE void ScoreStep(const Tile& tile, const T* const* tiles, int64_t head_dim, float scale,
                          float* HWY_RESTRICT scores) {
  constexpr int kVectors = VectorsAtATime(kQueries);
  constexpr int64_t kPrefetched = 64 / sizeof(T) / kKeyTile;  // key elements that a cache line holds of a tile
  const FloatTag d;
  for (int64_t key = 0; key < kStep; key += kVectors * kLanes) {
    FloatVec acc[kQueries][kVectors];
    for (int r = 0; r < kQueries; ++r) {
      for (int v = 0; v < kVectors; ++v) acc[r][v] = hn::Zero(d);
    }
    for (int64_t i = 0; i < head_dim; ++i) {
      if (kQueries == 1 && i % kPrefetched == 0) {  // eight interleaved streams are too much for the hardware to see
        for (int64_t t = key / kKeyTile; t < (key + kVectors * kLanes) / kKeyTile; ++t) {
          hwy::Prefetch(tiles[t] + i * kKeyTile + kStepTiles * head_dim * kKeyTile);
        }
      }
      FloatVec k[kVectors];
      for (int v = 0; v < kVectors; ++v) k[v] = LoadKeys(tiles, key + v * kLanes, i);
      for (int r = 0; r < kQueries; ++r) {
        const FloatVec q = hn::Set(d, tile.q[r][i]);
        for (int v = 0; v < kVectors; ++v) acc[r][v] = hn::MulAdd(q, k[v], acc[r][v]);
      }
    }
    for (int r = 0; r < kQueries; ++r) {
      for (int v = 0; v < kVectors; ++v) {
        StoreFloats(hn::Mul(acc[r][v], hn::Set(d, scale)), scores + r * kKvBlock + key + v * kLanes);
      }
    }
  }
}

// Scores of `visible` keys -> exp(score - max), 0 behind them up to `padded`; gives max and sum.
HWY_INLINE void BlockSoftmax(float* HWY_RESTRICT scores, int64_t visible, int64_t padded, float* max, float* sum) {
  const FloatTag d;
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

// out[r][i] = sum over keys of p[r][key] * value[key][i], for kVectors vectors of head_dim from element `first`.
template <int kQueries, int kVectors, typename T>
HWY_INLINE void ValueColumns(const Tile& tile, const Block<T>& block, int64_t keys, int64_t first, const float* p) {
  const FloatTag d;
  FloatVec acc[kQueries][kVectors];
  for (int r = 0; r < kQueries; ++r) {
    for (int v = 0; v < kVectors; ++v) acc[r][v] = hn::Zero(d);
  }
  for (int64_t key = 0; key < keys; key += kKeyTile) {
    const T* HWY_RESTRICT values = block.values[key / kKeyTile] + first;
    const int64_t end = std::min(keys, key + kKeyTile);
    for (int64_t k = key; k < end; ++k, values += block.head_dim) {
      FloatVec value[kVectors];
      for (int v = 0; v < kVectors; ++v) value[v] = LoadFloats(values + v * kLanes);
      for (int r = 0; r < kQueries; ++r) {
        const FloatVec weight = hn::Set(d, p[r * kKvBlock + k]);
        for (int v = 0; v < kVectors; ++v) acc[r][v] = hn::MulAdd(weight, value[v], acc[r][v]);
      }
    }
  }
  for (int r = 0; r < kQueries; ++r) {
    for (int v = 0; v < kVectors; ++v) StoreFloats(acc[r][v], tile.out[r] + first + v * kLanes);
  }
}

template <int kQueries, typename T>
void ValuesOf(const Tile& tile, const Block<T>& block, int64_t keys, const float* p) {
  constexpr int kVectors = VectorsAtATime(kQueries);
  int64_t i = 0;
  for (; i + kVectors * kLanes <= block.head_dim; i += kVectors * kLanes) {
    ValueColumns<kQueries, kVectors>(tile, block, keys, i, p);
  }
  for (; i + kLanes <= block.head_dim; i += kLanes) ValueColumns<kQueries, 1>(tile, block, keys, i, p);
  for (; i < block.head_dim; ++i) {  // head_dim is no multiple of the vectors' width: rare, and few
    for (int r = 0; r < kQueries; ++r) {
      float sum = 0;
      for (int64_t key = 0; key < keys; ++key) {
        sum += p[r * kKvBlock + key] * ToF32(block.values[key / kKeyTile][key % kKeyTile * block.head_dim + i]);
      }
      tile.out[r][i] = sum;
    }
  }
}

// Everything that one block gives to a tile of kQueries query vectors. `scores` has room for kQueryTile * kKvBlock.
template <int kQueries, typename T>
HWY_NOINLINE void TileTimesBlock(Tile& tile, const Block<T>& block, float scale, float* scores) {
  const int64_t keys = *std::max_element(tile.visible, tile.visible + kQueries);
  const int64_t padded = (keys + kStep - 1) / kStep * kStep;
  for (int64_t key = 0; key < keys; key += kStep) {
    ScoreStep<kQueries>(tile, block.keys + key / kKeyTile, block.head_dim, scale, scores + key);
  }
  for (int r = 0; r < kQueries; ++r) {
    BlockSoftmax(scores + r * kKvBlock, tile.visible[r], padded, &tile.max[r], &tile.sum[r]);
  }
  ValuesOf<kQueries>(tile, block, keys, scores);
}

template <typename T>
void TileTimesBlock(Tile& tile, int64_t queries, const Block<T>& block, float scale, float* scores) {
  switch (queries) {
    case 1:
      return TileTimesBlock<1>(tile, block, scale, scores);
    case 2:
      return TileTimesBlock<2>(tile, block, scale, scores);
    case 3:
      return TileTimesBlock<3>(tile, block, scale, scores);
    case 4:
      return TileTimesBlock<4>(tile, block, scale, scores);
    case 5:
      return TileTimesBlock<5>(tile, block, scale, scores);
    default:
      return TileTimesBlock<6>(tile, block, scale, scores);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace triforce
HWY_AFTER_NAMESPACE();

#endif  // TRIFORCE_KERNELS_OPS_ATTENTION_BLOCK_INL_H_
