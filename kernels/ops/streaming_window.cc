#include "kernels/ops/streaming_window.h"

#include <algorithm>
#include <cmath>

#include "kernels/core/cpu_lane.h"
#include "kernels/core/cuda_lane.h"

namespace triforce {

[[gnu::weak]] void StreamingWindowCuda(CudaLane& lane, const StreamingWindowArgs& args);  // streaming_window_cuda.cu

namespace {

void Check(const StreamingWindowArgs& args) {
  const TensorView& sinks = args.sinks;
  TF_CHECK(
      args.turned.rank() == 3 && args.turned.dtype() == DType::kI64 && args.turned.dense() && args.turned.dim(2) == 2,
      "{}", args.turned.ToString());
  const int64_t layers = args.turned.dim(0), kv_heads = args.turned.dim(1);
  TF_CHECK(sinks.rank() == 4 && sinks.dtype() == DType::kF32 && sinks.dense() && sinks.dim(0) == layers &&
               sinks.dim(1) == 2 && sinks.dim(2) % (kv_heads * kKeyTile) == 0 && sinks.dim(3) % 2 == 0,
           "{}", sinks.ToString());
  const int64_t head_dim = sinks.dim(3), rows = args.rows.dim(0);
  TF_CHECK(args.inverse_frequency.dtype() == DType::kF32 && args.inverse_frequency.elements() == head_dim / 2, "{}",
           args.inverse_frequency.ToString());
  CheckKvView({args.blocks, kv_heads, 0});
  TF_CHECK(args.blocks.dim(0) == layers * kv_heads && args.blocks.dim(2) == kKvBlock * head_dim, "{}",
           args.blocks.ToString());
  TF_CHECK(!args.base || (args.base.dtype() == DType::kI64 && args.base.dense() && args.base.elements() == 2), "{}",
           args.base.ToString());
  TF_CHECK(args.tiles.rank() == 4 && args.tiles.dtype() == DType::kI64 && args.tiles.dim(0) == layers &&
               args.tiles.dim(1) == rows && args.tiles.dim(2) == kv_heads && args.tiles.dim(3) == kBlockTiles &&
               args.tiles.stride(3) == 1 && args.tiles.stride(2) == kBlockTiles,
           "{}, {} rows", args.tiles.ToString(), rows);
  TF_CHECK(args.rows.rank() == 2 && args.rows.dtype() == DType::kI64 && args.rows.dense() && args.rows.dim(1) == 2,
           "{}", args.rows.ToString());
}

// A layer's kv_head.
template <typename T>
class Head {
 public:
  Head(const StreamingWindowArgs& args, int64_t layer, int64_t kv_head)
      : args_(args),
        layer_(layer),
        kv_head_(kv_head),
        kv_heads_(args.turned.dim(1)),
        sinks_(args.sinks.dim(2) / kv_heads_),
        head_dim_(args.sinks.dim(3)),
        keys_(args.blocks.as<T>() + (layer * kv_heads_ + kv_head) * args.blocks.stride(0)),
        turned_(args.turned.as<int64_t>() + (layer * kv_heads_ + kv_head) * 2) {}

  void List(int64_t row, const WindowOfRow& at) {
    int64_t* const tiles = args_.tiles.as<int64_t>() + layer_ * args_.tiles.stride(0) + row * args_.tiles.stride(1) +
                           kv_head_ * kBlockTiles;
    const int64_t sink_tiles = sinks_ / kKeyTile;
    for (int64_t i = 0; i < kBlockTiles; ++i) {
      // What lies behind the block's end is never visible.
      const int64_t tile =
          i < sink_tiles ? at.window % 2 * sink_tiles + i : std::min(at.tile + i - sink_tiles, kBlockTiles - 1);
      tiles[i] = reinterpret_cast<int64_t>(keys_ + tile * kKeyTile * head_dim_);
    }
  }

  void Turn(int64_t window) {
    const int64_t copy = window % 2, by = window * kKeyTile, half = head_dim_ / 2;
    if (turned_[copy] == by) return;
    const float* const keys =
        args_.sinks.as<float>() + layer_ * args_.sinks.stride(0) + kv_head_ * head_dim_;  // values behind them
    const int64_t next = kv_heads_ * head_dim_;                                           // from sink to sink
    for (int64_t i = 0; i < half; ++i) {
      const float angle = static_cast<float>(by) * args_.inverse_frequency.as<float>()[i];
      const float cos = static_cast<float>(std::cos(static_cast<double>(angle)));
      const float sin = static_cast<float>(std::sin(static_cast<double>(angle)));
      for (int64_t sink = 0; sink < sinks_; ++sink) {
        const float* const key = keys + sink * next;
        const int64_t place = copy * sinks_ + sink;
        T* const tile = keys_ + place / kKeyTile * kKeyTile * head_dim_;
        tile[KeyElement(place, i)] = FromF32<T>(key[i] * cos - key[i + half] * sin);
        tile[KeyElement(place, i + half)] = FromF32<T>(key[i + half] * cos + key[i] * sin);
      }
    }
    for (int64_t sink = 0; sink < sinks_; ++sink) {
      const float* const from = keys + args_.sinks.stride(1) + sink * next;
      T* const value = keys_ + args_.blocks.stride(1) + (copy * sinks_ + sink) * head_dim_;
      for (int64_t i = 0; i < head_dim_; ++i) value[i] = FromF32<T>(from[i]);
    }
    turned_[copy] = by;
  }

  void ForgetCopy1() { turned_[1] = -1; }

 private:
  const StreamingWindowArgs& args_;
  const int64_t layer_, kv_head_, kv_heads_, sinks_, head_dim_;
  T* const keys_;
  int64_t* const turned_;
};

void Run(const StreamingWindowArgs& args) {
  const int64_t layers = args.turned.dim(0), kv_heads = args.turned.dim(1), sinks = args.sinks.dim(2) / kv_heads;
  const int64_t* const base = args.base ? args.base.as<int64_t>() : nullptr;
  const int64_t token = args.token + (base == nullptr ? 0 : base[0]);
  const int64_t first = args.first + (base == nullptr ? 0 : base[1]);
  for (int64_t row = 0; row < args.rows.dim(0); ++row) {
    const WindowOfRow at = WindowOf(token + row, first, sinks, args.recent);
    TF_CHECK(at.place >= 0 && at.place < kKvBlock, "token {} of a window from {} on", token + row, first);
    args.rows.as<int64_t>()[2 * row] = at.visible;
    args.rows.as<int64_t>()[2 * row + 1] = at.place;
    WithFloatType(args.blocks.dtype(), [&]<typename T>(T) {
      for (int64_t i = 0; i < layers * kv_heads; ++i) {
        Head<T> head(args, i / kv_heads, i % kv_heads);
        head.List(row, at);
        head.Turn(at.window);
        if (token + row < sinks) head.ForgetCopy1();
      }
    });
  }
}

}  // namespace

// Most of the time there is nothing to turn, and little to list.
void StreamingWindow(Lane& lane, const StreamingWindowArgs& args) {
  Check(args);
  if (CudaLane* const cuda = AsCuda(lane)) return StreamingWindowCuda(*cuda, args);
  AsCpu(lane).Run("streaming_window", [args](Team&) { Run(args); });
}

}  // namespace triforce
