#include "kernels/ops/streaming_window.h"

#include <doctest/doctest.h>

#include <cmath>
#include <utility>
#include <vector>

#include "kernels/ops/op_testing.h"

namespace triforce {
namespace {

constexpr int64_t kLayers = 2, kSinks = 16, kHeads = 3, kHeadDim = 20, kRecent = 40;

class Cache {
 public:
  Cache(OpTest& test, DType dtype) : test_(test) {
    std::vector<float> frequency;
    for (int64_t i = 0; i < kHeadDim / 2; ++i) frequency.push_back(std::pow(10.0f, -0.3f * static_cast<float>(i)));
    args.sinks = test.Random(DType::kF32, {kLayers, 2, kSinks * kHeads, kHeadDim}, 1);
    args.inverse_frequency = test.From(frequency, DType::kF32, {kHeadDim / 2});
    args.turned = Ints(std::vector<int64_t>(kLayers * kHeads * 2, -1)).Reshape({kLayers, kHeads, 2});
    args.blocks = test.New(dtype, {kLayers * kHeads, 2, kKvBlock * kHeadDim});
    args.recent = kRecent;
  }

  TensorView Ints(const std::vector<int64_t>& values) {
    const TensorView t = test_.New(DType::kI64, {static_cast<int64_t>(values.size())});
    test_.lane().Copy(t.data(), values.data(), t.bytes(), "upload");
    test_.lane().Synchronize();
    return t;
  }
  void Queue(int64_t token, int64_t rows, int64_t first, bool on_device) {
    args.tiles = test_.New(DType::kI64, {kLayers, rows, kHeads, kBlockTiles});
    args.rows = test_.New(DType::kI64, {rows, 2});
    args.token = on_device ? 5 : token;
    args.first = on_device ? 8 : first;
    args.base = on_device ? Ints({token - 5, first - 8}) : TensorView();
    StreamingWindow(test_.lane(), args);
    test_.lane().Synchronize();
  }
  // Where tile i of a row's list lies, in tiles of its block.
  int64_t Tile(int64_t layer, int64_t row, int64_t head, int64_t i) const {
    const int64_t at = args.tiles.as<int64_t>()[((layer * args.tiles.dim(1) + row) * kHeads + head) * kBlockTiles + i];
    const int64_t tile_bytes = kKeyTile * kHeadDim * SizeOf(args.blocks.dtype());
    const int64_t offset = at - reinterpret_cast<int64_t>(args.blocks.data()) -
                           (layer * kHeads + head) * args.blocks.stride(0) * SizeOf(args.blocks.dtype());
    CHECK(offset % tile_bytes == 0);
    return offset / tile_bytes;
  }
  // The largest difference of a copy of the sinks from what it should be, turned by `by`.
  double Difference(int64_t copy, int64_t by) const {
    const std::vector<float> blocks = test_.Read(args.blocks), sinks = test_.Read(args.sinks);
    double most = 0;
    for (int64_t head = 0; head < kLayers * kHeads; ++head) {
      for (int64_t i = 0; i < kSinks * kHeadDim; ++i) {
        const int64_t sink = i / kHeadDim, element = i % kHeadDim, half = kHeadDim / 2, place = copy * kSinks + sink;
        const float* const key =
            &sinks[((head / kHeads * 2 * kSinks + sink) * kHeads + head % kHeads) * kHeadDim + element % half];
        const double angle = static_cast<float>(by) * args.inverse_frequency.as<float>()[element % half];
        const double turned = element < half ? key[0] * std::cos(angle) - key[half] * std::sin(angle)
                                             : key[half] * std::cos(angle) + key[0] * std::sin(angle);
        const float* const block = &blocks[head * 2 * kKvBlock * kHeadDim];
        const float found = block[place / kKeyTile * kKeyTile * kHeadDim + KeyElement(place, element)];
        const float value = block[kKvBlock * kHeadDim + place * kHeadDim + element];
        const float expected = key[kSinks * kHeads * kHeadDim + element - element % half];
        most = std::max({most, std::abs(found - turned), static_cast<double>(std::abs(value - expected))});
      }
    }
    return most;
  }

  StreamingWindowArgs args;

 private:
  OpTest& test_;
};

TEST_CASE("streaming_window: sinks are turned to the window, into the copy that it has, and only once") {
  ForEachDevice([](OpTest& test) {
    for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
      Cache cache(test, dtype);
      // Normal values are below 6, and rounded to the type once; products in f32 before.
      const double tolerance = 6 * (0x1p-21 + (dtype == DType::kF32 ? 0 : dtype == DType::kF16 ? 0x1p-11 : 0x1p-8));
      for (const bool on_device : {false, true}) {
        CAPTURE(on_device);
        cache.Queue(kSinks + 10, 1, kSinks, on_device);  // window 0
        CHECK(cache.Difference(0, 0) <= tolerance);
        // Of the last 40 tokens up to 95 the oldest is 56, where window 5 begins; up to 96 it is 57.
        cache.Queue(95, 3, kSinks, on_device);
        CHECK(cache.args.rows.as<int64_t>()[0] == 95 + 1 - 40);
        CHECK(cache.args.rows.as<int64_t>()[2] == 96 + 1 - 48);
        CHECK(cache.Difference(1, 40) <= tolerance);
        CHECK(cache.Difference(0, 48) <= tolerance);
      }
      const std::vector<float> before = test.Read(cache.args.blocks);
      test.lane().Copy(cache.args.sinks.data(), test.Random(DType::kF32, {cache.args.sinks.elements()}, 7).data(),
                       cache.args.sinks.bytes(), "other sinks");
      cache.Queue(97, 2, kSinks, false);  // they are there already
      CHECK(test.Read(cache.args.blocks) == before);
      cache.Queue(3, 2, kSinks, true);  // the sinks come anew: what was turned is of no use
      CHECK(cache.args.rows.as<int64_t>()[0] == 4);
      CHECK(cache.args.rows.as<int64_t>()[1] == 3);
      CHECK(cache.Difference(0, 0) <= tolerance);
      cache.Queue(97, 1, kSinks, false);
      CHECK(cache.Difference(0, 48) <= tolerance);
      CHECK(cache.Difference(1, 40) > 0.1);
      cache.Queue(90, 1, kSinks, false);
      CHECK(cache.Difference(1, 40) <= tolerance);
    }
  });
}

// A block has no room for CheckRowInvariance's 512 rows.
TEST_CASE("streaming_window: a row's list does not depend on the number of rows") {
  ForEachDevice([](OpTest& test) {
    Cache cache(test, DType::kF16);
    // Of row `row` of the latest call.
    const auto list = [&](int64_t row) {
      std::vector<int64_t> found = {cache.args.rows.as<int64_t>()[2 * row], cache.args.rows.as<int64_t>()[2 * row + 1]};
      for (int64_t head = 0; head < kLayers * kHeads; ++head) {
        for (const int64_t i : {0, 1, 2, 3, 40}) found.push_back(cache.Tile(head / kHeads, row, head % kHeads, i));
      }
      return found;
    };
    const auto queue = [&](int64_t first, int64_t rows) { cache.Queue(841 + first, rows, /*first=*/800, false); };
    std::vector<std::vector<int64_t>> alone;
    for (int64_t row = 0; row < 100; ++row) {
      queue(row, 1);
      alone.push_back(list(0));
    }
    for (const auto& [first, rows] : {std::pair<int64_t, int64_t>{0, 2}, {5, 3}, {8, 17}, {30, 64}, {0, 100}}) {
      queue(first, rows);
      for (int64_t row = 0; row < rows; ++row) CHECK(list(row) == alone[first + row]);
    }
  });
}

TEST_CASE("streaming_window: lists name the sinks' copy and the recent tiles from the window on") {
  ForEachDevice([](OpTest& test) {
    for (const bool on_device : {false, true}) {
      CAPTURE(on_device);
      Cache cache(test, DType::kF16);
      constexpr int64_t kFirst = 800;  // token that lies behind the sinks
      cache.Queue(841, 9, kFirst, on_device);
      for (int64_t row = 0; row < 9; ++row) {
        CAPTURE(row);
        const int64_t token = 841 + row;
        // The first tile whose tokens are all among the last 40, or the first that is kept.
        int64_t begin = kFirst;
        while (begin < token + 1 - kRecent) begin += kKeyTile;
        CHECK(cache.args.rows.as<int64_t>()[2 * row] == kSinks + token + 1 - begin);
        CHECK(cache.args.rows.as<int64_t>()[2 * row + 1] == 2 * kSinks + token - kFirst);
        for (int64_t head = 0; head < kLayers * kHeads; ++head) {
          for (const int64_t i : {0, 1, 2, 3, 7, 62, 63}) {
            const int64_t tile = i < 2 ? (begin - kSinks) / kKeyTile % 2 * 2 + i
                                       : std::min(kBlockTiles - 1, 4 + (begin - kFirst) / kKeyTile + i - 2);
            CHECK(cache.Tile(head / kHeads, row, head % kHeads, i) == tile);
          }
        }
      }
    }
  });
}

}  // namespace
}  // namespace triforce
