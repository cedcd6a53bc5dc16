// KvAppend on CUDA: a block for each key tile that rows fall into, and kv_head.
#include "kernels/core/gpu_launch.h"
#include "kernels/ops/device_scalar.h"
#include "kernels/ops/kv_append.h"

namespace triforce {
namespace {

constexpr int kThreads = 128;

// A pass' rows and where they go.
template <typename T>
struct Appended {
  const float* keys;  // [rows, kv_heads, head_dim]
  int64_t keys_stride;
  const float* values;  // [rows, kv_heads, head_dim]
  int64_t values_stride;
  const int64_t* base;  // added to `position`, if there is one
  int64_t position;     // of row 0
  int64_t rows;
  T* blocks;  // [entries, 2, kKvBlock * head_dim]
  int64_t first_entry, entries;
  int64_t kv_heads;
  int64_t head_dim;
};

// Two elements to a place that is aligned to both together.
template <typename T>
TF_DEVICE void StorePair(T* to, const float* from) {
  if constexpr (sizeof(T) == 2) {
    *reinterpret_cast<uint32_t*>(to) = gpu::Pack<T>(from[0], from[1]);
  } else {
    to[0] = from[0], to[1] = from[1];
  }
}

template <typename T>
TF_KERNEL(kThreads)
KvAppendKernel(Appended<T> a) {
  const int64_t position = a.position + (a.base == nullptr ? 0 : *a.base);
  const int64_t tile = position / kKeyTile + gpu::BlockX(), kv_head = gpu::BlockY();
  if (tile * kKeyTile >= position + a.rows) return;  // of a base, blocks are as many as the rows may need
  const int64_t entry = tile / kBlockTiles * a.kv_heads + kv_head - a.first_entry;
  if (position < 0 || entry < 0 || entry >= a.entries) gpu::Trap("kv_append: a position outside the KV");
  T* const keys = a.blocks + entry * 2 * kKvBlock * a.head_dim + tile % kBlockTiles * kKeyTile * a.head_dim;
  T* const values = keys + kKvBlock * a.head_dim;
  const int half = static_cast<int>(a.head_dim / 2);
  for (int i = gpu::ThreadIndex(); i < kKeyTile * half; i += kThreads) {
    // Threads side by side write side by side: tokens of a pair of the keys' tile, pairs of a value.
    const int key_token = i % static_cast<int>(kKeyTile), key_element = i / static_cast<int>(kKeyTile) * 2;
    const int64_t key_row = tile * kKeyTile + key_token - position;
    if (key_row >= 0 && key_row < a.rows) {
      StorePair(keys + KeyElement(key_token, key_element),
                a.keys + key_row * a.keys_stride + kv_head * a.head_dim + key_element);
    }
    const int value_token = i / half, value_element = i % half * 2;
    const int64_t value_row = tile * kKeyTile + value_token - position;
    if (value_row >= 0 && value_row < a.rows) {
      StorePair(values + value_token * a.head_dim + value_element,
                a.values + value_row * a.values_stride + kv_head * a.head_dim + value_element);
    }
  }
}

}  // namespace

void KvAppendCuda(CudaLane& lane, const KvAppendArgs& args) {
  const int64_t rows = args.keys.dim(0);
  if (rows == 0) return;
  const int64_t tiles = args.base ? (rows + kKeyTile - 2) / kKeyTile + 1
                                  : (args.position + rows - 1) / kKeyTile - args.position / kKeyTile + 1;
  WithFloatType(args.kv.dtype(), [&]<typename T>(T) {
    Launch<KvAppendKernel<T>>(lane, "kv_append", {.x = tiles, .y = args.kv.kv_heads, .threads = kThreads},
                              Appended<T>{.keys = args.keys.as<float>(),
                                          .keys_stride = args.keys.stride(0),
                                          .values = args.values.as<float>(),
                                          .values_stride = args.values.stride(0),
                                          .base = AddressOfScalar(args.base),
                                          .position = args.position,
                                          .rows = rows,
                                          .blocks = args.kv.blocks.as<T>(),
                                          .first_entry = args.kv.first_entry,
                                          .entries = args.kv.entries(),
                                          .kv_heads = args.kv.kv_heads,
                                          .head_dim = args.kv.head_dim()});
  });
}

}  // namespace triforce
