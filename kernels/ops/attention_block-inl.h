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
#include <hwy/highway.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <limits>

#include "kernels/ops/exp-inl.h"
#include "kernels/ops/kv_view.h"
#include "kernels/ops/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace triforce {
namespace HWY_NAMESPACE {

// Query vectors that meet a block together.
inline constexpr int kQueryTile = 16;
// Of them, those whose sums fill three quarters of the registers: beside a tile of keys, beside some columns of values.
inline constexpr int kScoreQueries = kLanes == 16 ? 12 : 6;
inline constexpr int kValueQueries = 6;
// Keys, and values, that all query vectors of a tile go through before the next ones: they stay in the first cache.
inline constexpr int64_t kRunKeys = 32;
inline constexpr int64_t kRunTiles = kRunKeys / kKeyTile;
inline constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

// A block of one kv_head's keys and values: where its tiles lie.
template <typename T>
struct Block {
  bool scattered = false;  // its tiles lie here and there
  const T* keys[kBlockTiles];
  const T* values[kBlockTiles];
  const T* next[kRunTiles];  // keys that this thread takes next, most likely
  int64_t head_dim = 0;
};

// Entry `entry` of the view, its first `tokens` tokens; entry `next` comes behind it, most likely.
template <typename T>
Block<T> BlockOf(const KvView& kv, int64_t entry, int64_t tokens, int64_t next) {
  Block<T> block;
  block.head_dim = kv.head_dim();
  if (next >= kv.entries()) next = entry;
  for (int64_t tile = 0; tile < kRunTiles; ++tile) {
    block.next[tile] = kv.scattered() ? reinterpret_cast<const T*>(kv.tiles.as<int64_t>()[next * kBlockTiles + tile])
                                      : KeysOf<T>(kv, next) + tile * kKeyTile * block.head_dim;
  }
  if (kv.scattered()) {
    block.scattered = true;
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

// Calls f.operator()<count>(). REQUIRES: 1 <= count <= kMost.
template <int kMost, typename F>
HWY_INLINE void WithCount(int count, const F& f) {
  if constexpr (kMost > 1) {
    if (count < kMost) return WithCount<kMost - 1>(count, f);
  }
  f.template operator()<kMost>();
}

// Calls f.operator()<n>(first) for the query vectors [first, first + n) of each group, at most kMost in one, sizes as
// equal as can be.
template <int kMost, typename F>
HWY_INLINE void ForGroups(int queries, const F& f) {
  const int groups = (queries + kMost - 1) / kMost;
  for (int first = 0, left = groups; left > 0; --left) {
    const int count = (queries - first + left - 1) / left;
    WithCount<kMost>(count, [&]<int kQueries>() { f.template operator()<kQueries>(first); });
    first += count;
  }
}

// scores[r][key] = scale * q[r].key for the keys of one tile; scores' rows are kKvBlock apart. Meanwhile the tile
// `ahead` is asked for.
template <int kQueries, typename T>
HWY_INLINE void TileScores(const float* const* q, const T* HWY_RESTRICT keys, const T* ahead, int64_t head_dim,
                           float scale, float* HWY_RESTRICT scores) {
  constexpr int kVectors = 2 * kKeyTile / kLanes;
  FloatVec acc[kQueries][kVectors];
  for (int r = 0; r < kQueries; ++r) {
    for (int v = 0; v < kVectors; ++v) acc[r][v] = hn::Zero(FloatTag());
  }
  for (int64_t i = 0; i < head_dim; i += 2, keys += 2 * kKeyTile, ahead += 2 * kKeyTile) {
    hwy::Prefetch(ahead);
    FloatVec k[kVectors];
    for (int v = 0; v < kVectors; ++v) k[v] = LoadFloats(keys + v * kLanes);
    for (int r = 0; r < kQueries; ++r) {
      for (int v = 0; v < kVectors; ++v) acc[r][v] = hn::MulAdd(QueryPair(q[r] + i, v), k[v], acc[r][v]);
    }
  }
  for (int r = 0; r < kQueries; ++r) StoreScores(acc[r], scale, scores + r * kKvBlock);
}

// Asks for a tile of keys or values.
template <typename T>
HWY_INLINE void PrefetchTile(const T* tile, int64_t head_dim) {
  constexpr int64_t kLine = 64;
  const char* const bytes = reinterpret_cast<const char*>(tile);
  for (int64_t i = 0; i < kKeyTile * head_dim * static_cast<int64_t>(sizeof(T)); i += kLine) hwy::Prefetch(bytes + i);
}

// The scores of a tile's query vectors. One tile of keys after another, so that memory is read in one sequence: eight
// interleaved ones were three times slower (docs/decisions.md).
template <typename T>
HWY_INLINE void Scores(const Tile& tile, int queries, const Block<T>& block, int64_t tiles, float scale,
                       float* HWY_RESTRICT scores) {
  for (int64_t begin = 0; begin < tiles; begin += kRunTiles) {
    const int64_t end = std::min(tiles, begin + kRunTiles);
    ForGroups<kScoreQueries>(queries, [&]<int kQueries>(int first) {
      for (int64_t t = begin; t < end; ++t) {
        // What comes a run later: behind the keys, the first values.
        const int64_t ahead = t + kRunTiles;
        const T* const asked = ahead < tiles ? block.keys[ahead] : block.values[std::min(ahead - tiles, tiles - 1)];
        // No sequence that the processor would know of by itself: values are asked for beside their keys.
        if (first == 0 && block.scattered) PrefetchTile(block.values[t], block.head_dim);
        TileScores<kQueries>(tile.q + first, block.keys[t], asked, block.head_dim, scale,
                             scores + first * kKvBlock + t * kKeyTile);
      }
    });
  }
}

// Scores of the first `visible` keys of `keys` -> exp(score - max), of the others -> 0; gives max and sum. Writes up to
// the next multiple of kSumLanes. Meanwhile lines from `ahead` on are asked for.
HWY_INLINE void BlockSoftmax(float* HWY_RESTRICT scores, int64_t visible, int64_t keys, const void* ahead, float* max,
                             float* sum) {
  const char* line = static_cast<const char*>(ahead);
  constexpr int kVectors = LaneSum::kVectors;
  const FloatTag d;
  const int64_t padded = (keys + kSumLanes - 1) / kSumLanes * kSumLanes;
  std::fill(scores + visible, scores + padded, kMinusInfinity);
  FloatVec most[kVectors];
  for (FloatVec& m : most) m = hn::Set(d, kMinusInfinity);
  for (int64_t i = 0; i < padded; i += kSumLanes) {
    for (int v = 0; v < kVectors; ++v) most[v] = hn::Max(most[v], LoadFloats(scores + i + v * kLanes));
  }
  for (int v = 1; v < kVectors; ++v) most[0] = hn::Max(most[0], most[v]);
  *max = hn::GetLane(hn::MaxOfLanes(d, most[0]));
  *sum = 0;
  if (visible == 0) return std::fill(scores, scores + padded, 0.0f);
  const FloatVec largest = hn::Set(d, *max);
  LaneSum total;
  for (int64_t i = 0; i < padded; i += kSumLanes, line += 64) {
    __builtin_prefetch(line, 0, 2);  // into the second cache, which has room for them
    for (int v = 0; v < kVectors; ++v) {
      const FloatVec p = ExpOfNegative(d, hn::Sub(LoadFloats(scores + i + v * kLanes), largest));
      StoreFloats(p, scores + i + v * kLanes);
      total.Add(v, p);
    }
  }
  *sum = total.Total();
}

// Some values of a block: tiles of kKeyTile, each dense.
template <typename T>
struct ValueRun {
  const T* tiles[kRunTiles];
  const T* ahead[kRunTiles];  // what is asked for meanwhile: the next run's
  int64_t keys;
  bool first;  // of the block: sums begin
};

// out[r][i] (+)= sum over the run's keys of p[r][key] * value[key][i], for kQueries query vectors and kVectors vectors
// of head_dim from element `column`. Sums in between are kept in f32, which changes no bit.
template <int kQueries, int kVectors, typename T>
HWY_INLINE void ValueColumns(float* const* out, const ValueRun<T>& run, int64_t head_dim, int64_t column,
                             const float* HWY_RESTRICT p) {
  FloatVec acc[kQueries][kVectors];
  for (int r = 0; r < kQueries; ++r) {
    for (int v = 0; v < kVectors; ++v) {
      acc[r][v] = run.first ? hn::Zero(FloatTag()) : LoadFloats(out[r] + column + v * kLanes);
    }
  }
  for (int64_t key = 0; key < run.keys; key += kKeyTile) {
    const T* HWY_RESTRICT values = run.tiles[key / kKeyTile] + column;
    const T* ahead = run.ahead[key / kKeyTile] + column;
    const int64_t end = std::min(run.keys, key + kKeyTile);
    for (int64_t k = key; k < end; ++k, values += head_dim, ahead += head_dim) {
      // Columns of a run are no sequence that the processor would know. Asking for all of the next run at once took as
      // long as not asking: 1.47 ms where this takes 1.28 (6 rows, 14.7 MB, head_dim 64, one core of an AMD EPYC).
      if constexpr (kQueries > 1) hwy::Prefetch(ahead);
      // The fewer of the two are what waits in registers.
      if constexpr (kQueries < kVectors) {
        FloatVec weight[kQueries];
        for (int r = 0; r < kQueries; ++r) weight[r] = hn::Set(FloatTag(), p[r * kKvBlock + k]);
        for (int v = 0; v < kVectors; ++v) {
          const FloatVec value = LoadFloats(values + v * kLanes);
          for (int r = 0; r < kQueries; ++r) acc[r][v] = hn::MulAdd(weight[r], value, acc[r][v]);
        }
      } else {
        FloatVec value[kVectors];
        for (int v = 0; v < kVectors; ++v) value[v] = LoadFloats(values + v * kLanes);
        for (int r = 0; r < kQueries; ++r) {
          const FloatVec weight = hn::Set(FloatTag(), p[r * kKvBlock + k]);
          for (int v = 0; v < kVectors; ++v) acc[r][v] = hn::MulAdd(weight, value[v], acc[r][v]);
        }
      }
    }
  }
  for (int r = 0; r < kQueries; ++r) {
    for (int v = 0; v < kVectors; ++v) StoreFloats(acc[r][v], out[r] + column + v * kLanes);
  }
}

template <int kQueries, typename T>
HWY_INLINE void RunValues(float* const* out, const ValueRun<T>& run, int64_t head_dim, const float* p) {
  // As many columns at a time as registers hold the sums of.
  constexpr int kVectors = kLanes == 16 ? (kQueries <= 2 ? 8 : 4) : (kQueries == 1 ? 8 : kQueries <= 3 ? 4 : 2);
  int64_t i = 0;
  for (; i + kVectors * kLanes <= head_dim; i += kVectors * kLanes) {
    ValueColumns<kQueries, kVectors>(out, run, head_dim, i, p);
  }
  if (kVectors > 4 && i + 4 * kLanes <= head_dim) {
    ValueColumns<kQueries, 4>(out, run, head_dim, i, p);
    i += 4 * kLanes;
  }
  for (; i + kLanes <= head_dim; i += kLanes) ValueColumns<kQueries, 1>(out, run, head_dim, i, p);
  for (; i < head_dim; ++i) {  // head_dim is no multiple of the vectors' width: rare, and few
    for (int r = 0; r < kQueries; ++r) {
      float sum = run.first ? 0 : out[r][i];
      for (int64_t key = 0; key < run.keys; ++key) {
        sum += p[r * kKvBlock + key] * ToF32(run.tiles[key / kKeyTile][key % kKeyTile * head_dim + i]);
      }
      out[r][i] = sum;
    }
  }
}

// The outputs of a tile's query vectors.
template <typename T>
HWY_INLINE void Values(const Tile& tile, int queries, const Block<T>& block, int64_t keys, const float* scores) {
  const int64_t tiles = (keys + kKeyTile - 1) / kKeyTile;
  for (int64_t key = 0; key < keys || key == 0; key += kRunKeys) {  // without keys, too, sums are written
    ValueRun<T> run{{}, {}, std::min(keys - key, kRunKeys), key == 0};
    for (int64_t t = 0; t * kKeyTile < run.keys; ++t) {
      run.tiles[t] = block.values[key / kKeyTile + t];
      const int64_t ahead = key / kKeyTile + t + kRunTiles;
      run.ahead[t] = ahead < tiles ? block.values[ahead] : block.next[t];
    }
    ForGroups<kValueQueries>(queries, [&]<int kQueries>(int first) {
      RunValues<kQueries>(tile.out + first, run, block.head_dim, scores + first * kKvBlock + key);
    });
  }
}

// Everything that one block gives to a tile of `queries` query vectors. `scores` has room for kQueryTile * kKvBlock.
template <typename T>
HWY_NOINLINE void TileTimesBlock(Tile& tile, int queries, const Block<T>& block, float scale, float* scores) {
  const int64_t keys = *std::max_element(tile.visible, tile.visible + queries);
  Scores(tile, queries, block, (keys + kKeyTile - 1) / kKeyTile, scale, scores);
  for (int r = 0; r < queries; ++r) {
    // Scores have asked for the first run of values; here come those behind it, some of them for each query vector.
    const int64_t run = std::min<int64_t>(r + 1, std::max<int64_t>(0, keys - 1) / kRunKeys);
    BlockSoftmax(scores + r * kKvBlock, tile.visible[r], keys, keys == 0 ? nullptr : block.values[run * kRunTiles],
                 &tile.max[r], &tile.sum[r]);
  }
  Values(tile, queries, block, keys, scores);
}

}  // namespace HWY_NAMESPACE
}  // namespace triforce
HWY_AFTER_NAMESPACE();

#endif  // TRIFORCE_KERNELS_OPS_ATTENTION_BLOCK_INL_H_
