// StreamingWindow on CUDA: a block a layer's kv_head, which goes through the rows in order.
#include "kernels/core/gpu_launch.h"
#include "kernels/ops/streaming_window.h"

namespace triforce {
namespace {

constexpr int kThreads = 128;

template <typename T>
struct WindowWork {
  const float* sinks;  // [layers, 2, sink_tokens, kv_heads, head_dim]
  const float* frequency;
  int64_t* turned;  // [layers, kv_heads, 2]
  T* blocks;        // [layers * kv_heads, 2, kKvBlock * head_dim]
  const int64_t* base;
  int64_t token, first, recent;
  int64_t rows, sink_tokens, kv_heads, head_dim;
  int64_t* tiles;  // [layers, rows, kv_heads, kBlockTiles]
  int64_t tiles_of_layer, tiles_of_row;
  int64_t* of_rows;  // [rows, 2]
};

// One of the sinks' copies, turned by `by`.
template <typename T>
TF_DEVICE void TurnSinks(const WindowWork<T>& work, int64_t layer, int64_t kv_head, T* keys, int64_t copy, int64_t by) {
  const int64_t half = work.head_dim / 2;
  for (int64_t i = gpu::ThreadIndex(); i < work.sink_tokens * half; i += kThreads) {
    const int64_t sink = i / half, element = i % half, place = copy * work.sink_tokens + sink;
    const int64_t layer_elements = work.sink_tokens * work.kv_heads * work.head_dim;
    const float* const key =
        work.sinks + 2 * layer * layer_elements + (sink * work.kv_heads + kv_head) * work.head_dim + element;
    const float angle = static_cast<float>(by) * work.frequency[element];
    const float cos = gpu::Cos(angle), sin = gpu::Sin(angle);
    const float a = key[0], b = key[half];
    T* const tile = keys + place / kKeyTile * kKeyTile * work.head_dim;
    tile[KeyElement(place, element)] = gpu::FromFloat<T>(a * cos - b * sin);
    tile[KeyElement(place, element + half)] = gpu::FromFloat<T>(b * cos + a * sin);
    T* const value = keys + (kKvBlock + place) * work.head_dim + element;
    value[0] = gpu::FromFloat<T>(key[layer_elements]);
    value[half] = gpu::FromFloat<T>(key[layer_elements + half]);
  }
}

template <typename T>
TF_KERNEL(kThreads)
WindowKernel(WindowWork<T> work) {
  const int64_t kv_head = gpu::BlockX(), layer = gpu::BlockY();
  const int64_t token = work.token + (work.base == nullptr ? 0 : work.base[0]);
  const int64_t first = work.first + (work.base == nullptr ? 0 : work.base[1]);
  const int64_t entry = layer * work.kv_heads + kv_head, sink_tiles = work.sink_tokens / kKeyTile;
  T* const keys = work.blocks + entry * 2 * kKvBlock * work.head_dim;
  int64_t* const turned = work.turned + entry * 2;
  for (int64_t row = 0; row < work.rows; ++row) {
    const WindowOfRow at = WindowOf(token + row, first, work.sink_tokens, work.recent);
    if (at.place < 0 || at.place >= kKvBlock) gpu::Trap("streaming_window: a token that has no place in the cache");
    const bool writes = gpu::ThreadIndex() == 0;
    if (entry == 0 && writes) work.of_rows[2 * row] = at.visible, work.of_rows[2 * row + 1] = at.place;
    int64_t* const tiles = work.tiles + layer * work.tiles_of_layer + row * work.tiles_of_row + kv_head * kBlockTiles;
    for (int64_t i = gpu::ThreadIndex(); i < kBlockTiles; i += kThreads) {
      const int64_t recent = at.tile + i - sink_tiles;
      const int64_t tile = i < sink_tiles         ? at.window % 2 * sink_tiles + i
                           : recent < kBlockTiles ? recent
                                                  : kBlockTiles - 1;
      tiles[i] = reinterpret_cast<int64_t>(keys + tile * kKeyTile * work.head_dim);
    }
    const int64_t copy = at.window % 2, by = at.window * kKeyTile;
    const bool turns = turned[copy] != by;
    gpu::SyncThreads();  // all have read what `turned` says
    if (turns) TurnSinks(work, layer, kv_head, keys, copy, by);
    if (writes && turns) turned[copy] = by;
    if (writes && token + row < work.sink_tokens) turned[1] = -1;
    gpu::SyncThreads();
  }
}

}  // namespace

void StreamingWindowCuda(CudaLane& lane, const StreamingWindowArgs& args) {
  const int64_t layers = args.turned.dim(0), kv_heads = args.turned.dim(1);
  WithFloatType(args.blocks.dtype(), [&]<typename T>(T) {
    Launch<WindowKernel<T>>(lane, "streaming_window", {.x = kv_heads, .y = layers, .threads = kThreads},
                            WindowWork<T>{.sinks = args.sinks.as<float>(),
                                          .frequency = args.inverse_frequency.as<float>(),
                                          .turned = args.turned.as<int64_t>(),
                                          .blocks = args.blocks.as<T>(),
                                          .base = args.base ? args.base.as<int64_t>() : nullptr,
                                          .token = args.token,
                                          .first = args.first,
                                          .recent = args.recent,
                                          .rows = args.rows.dim(0),
                                          .sink_tokens = args.sinks.dim(2) / kv_heads,
                                          .kv_heads = kv_heads,
                                          .head_dim = args.sinks.dim(3),
                                          .tiles = args.tiles.as<int64_t>(),
                                          .tiles_of_layer = args.tiles.stride(0),
                                          .tiles_of_row = args.tiles.stride(1),
                                          .of_rows = args.rows.as<int64_t>()});
  });
}

}  // namespace triforce
