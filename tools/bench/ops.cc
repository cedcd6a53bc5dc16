// bazel run -c opt //tools/bench:ops: how near the ops come to the limits of this machine, measured in the same run.
#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "kernels/core/cpu_device.h"
#include "kernels/ops/attention.h"
#include "kernels/ops/chunk_select.h"
#include "kernels/ops/chunk_shares.h"
#include "kernels/ops/filtered_softmax.h"
#include "kernels/ops/linear.h"
#include "kernels/ops/peak.h"
#include "tools/bench/timing.h"

namespace triforce {
namespace {

enum class Limit { kRead, kFma };

struct OpBench {
  Timed timed;
  Limit limit;
  double amount;     // bytes read or multiply-adds of one run
  double wanted;     // least share of the limit
  double other = 0;  // the other of the two, where either may be the limit
};

class OpsBench {
 public:
  OpsBench(int threads, int rounds, bool fastest, std::string only, int64_t working_set_bytes)
      : rounds_(rounds),
        fastest_(fastest),
        only_(std::move(only)),
        threads_(threads),
        device_(int64_t{64} << 30),
        lane_(device_.NewLane({.name = "compute", .threads = threads})),
        working_set_bytes_(working_set_bytes) {}

  int Run() {
    AddLimits();
    AddAttention();
    AddVerifyAttention();
    AddFilteredSoftmax();
    AddSelection();
    AddLinear(DType::kF16, 1, 0.70);
    AddLinear(DType::kF16, 16, 0);
    AddLinear(DType::kF16, 512, 0.50);
    AddSmallLinears();
    AddPrefillAttention();
    std::vector<Timed> work;
    for (OpBench& bench : benches_) work.push_back(std::move(bench.timed));
    TimeInterleaved(work, rounds_);
    for (size_t i = 0; i < benches_.size(); ++i) benches_[i].timed = std::move(work[i]);
    return Print();
  }

 private:
  TensorView New(DType dtype, std::initializer_list<int64_t> shape, int fill) {
    const TensorView sizes(nullptr, nullptr, dtype, shape);
    buffers_.push_back(device_.Allocate(sizes.bytes(), "the bench"));
    const TensorView tensor(&device_, buffers_.back().data(), dtype, shape);
    // Small values of many bit patterns: no denormals, no page left unmapped.
    uint32_t state = 12345 + fill;
    for (int64_t i = 0; i < tensor.elements(); ++i) {
      state = state * 1664525u + 1013904223u;
      const float value = static_cast<float>(static_cast<int32_t>(state >> 16) - 32768) * 0x1p-18f;
      dtype == DType::kF16 ? void(tensor.as<F16>()[i] = ToF16(value)) : void(tensor.as<float>()[i] = value);
    }
    return tensor;
  }

  void Add(std::string name, Limit limit, double amount, double wanted, std::function<void()> queue, double other = 0) {
    if (benches_.size() >= 2 && name.find(only_) == std::string::npos) return;  // the first two are the limits
    benches_.push_back(
        {{std::move(name), [this, queue] { queue(), lane_->Synchronize(); }, {}}, limit, amount, wanted, other});
  }

  void AddLimits() {
    const int64_t elements = working_set_bytes_ / 4 / 4096 * 4096;
    const TensorView data = New(DType::kF32, {elements}, 1);
    const TensorView sink = New(DType::kF32, {1}, 0);
    Add("read bandwidth", Limit::kRead, elements * 4.0, 0, [=, this] { PeakRead(*lane_, data, sink); });
    const int64_t fmas = PeakFma(*lane_, int64_t{4} << 30, sink);
    Add("FMA peak", Limit::kFma, fmas, 0, [=, this] { PeakFma(*lane_, fmas, sink); });
  }

  KvView NewKv(int64_t kv_heads, int64_t tokens, int64_t head_dim) {
    return {New(DType::kF16, {KvBlocks(tokens) * kv_heads, 2, kKvBlock * head_dim}, 2), kv_heads};
  }

  std::function<void()> Attention(const KvView& kv, int64_t rows, int64_t tokens) {
    const int64_t heads = kv.kv_heads, head_dim = kv.head_dim();
    const AttentionArgs args{New(DType::kF32, {rows, heads, head_dim}, 4), kv, tokens, false, 0.1f};
    const AttentionPartials partials{New(DType::kF32, {kv.entries(), rows, 1, head_dim}, 0),
                                     New(DType::kF32, {kv.entries(), rows, 1}, 0),
                                     New(DType::kF32, {kv.entries(), rows, 1}, 0)};
    const AttentionState state{New(DType::kF32, {rows, heads, head_dim}, 0), New(DType::kF32, {rows, heads}, 0),
                               New(DType::kF32, {rows, heads}, 0)};
    return [=, this] {
      AttentionPartial(*lane_, args, partials);
      AttentionMerge(*lane_, {partials, heads, 0, state, true, true});
    };
  }

  void AddAttention() {
    for (const int64_t head_dim : {128, 64}) {
      const int64_t heads = 8;
      const int64_t tokens = working_set_bytes_ / (heads * head_dim * 2 * 2) / kKvBlock * kKvBlock;
      const KvView kv = NewKv(heads, tokens, head_dim);
      for (const int64_t rows : {1, 16}) {
        const double fmas = 2.0 * rows * heads * tokens * head_dim;
        Add(fmt::format("attention, {} row{}, f16, {} tokens x {} heads of {}", rows, rows == 1 ? "" : "s", tokens,
                        heads, head_dim),
            rows == 1 ? Limit::kRead : Limit::kFma, rows == 1 ? kv.blocks.bytes() : fmas, rows == 1 ? 0.70 : 0,
            Attention(kv, rows, tokens));
      }
    }
  }

  // A layer of a verify pass of the demo target, for as many rows as are proposed. Layer after layer, so that none lies
  // in the caches.
  void AddVerifyAttention() {
    const int64_t heads = 4, head_dim = 64, layers = 4, tokens = 28 * 1024;
    std::vector<KvView> kvs;
    for (int64_t layer = 0; layer < layers; ++layer) kvs.push_back(NewKv(heads, tokens, head_dim));
    for (const int64_t rows : {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 16}) {
      std::vector<std::function<void()>> work;
      for (const KvView& kv : kvs) work.push_back(Attention(kv, rows, tokens));
      Add(
          fmt::format("attention, {} row{}, f16, {} tokens x {} heads of {}", rows, rows == 1 ? "" : "s", tokens, heads,
                      head_dim),
          Limit::kRead, kvs[0].blocks.bytes(), 0, [this, work] { work[next_layer_++ % work.size()](); },
          2.0 * rows * heads * tokens * head_dim);
    }
  }

  void AddFilteredSoftmax() {
    const TensorView logits = New(DType::kF32, {1, 4096}, 8), out = New(DType::kF32, {1, 4096}, 0);
    // Weights that fall off as those of words do: a few hundred count, some dozens are kept.
    for (int64_t i = 0; i < logits.elements(); ++i) {
      logits.as<float>()[i] = -std::log(static_cast<float>(1 + i * 1337 % 4096));
    }
    Add("filtered_softmax, 1 row of 4096, T 0.6, top-p 0.9", Limit::kRead, logits.bytes(), 0, [=, this] {
      FilteredSoftmax(*lane_, {logits, {.temperature = 0.6f, .top_p = 0.9f}, out});
    });
  }

  // Choosing chunks for a layer of the demo target behind 29,000 tokens, by eight queries.
  void AddSelection() {
    const int64_t heads = 4, head_dim = 64, chunks = 3625, chosen = 362;
    const TensorView q = New(DType::kF32, {8, heads, head_dim}, 9), scores = New(DType::kF32, {heads, chunks}, 0);
    const TensorView means = New(DType::kF16, {heads, chunks, head_dim}, 10);
    for (int64_t i = 0; i < q.elements(); ++i) q.as<float>()[i] *= 100.0f;
    const TensorView forced = NewInts({heads, 9}), selected = NewInts({heads, chosen});
    Add("chunk_shares, 8 queries, f16, 3625 chunks x 4 heads of 64", Limit::kFma, 8.0 * heads * chunks * head_dim, 0,
        [=, this] {
          ChunkShares(*lane_, {q, means, chunks, 0.125f, scores});
        });
    Add("chunk_select, 362 of 3625 chunks x 4 heads", Limit::kRead, scores.bytes(), 0, [=, this] {
      ChunkSelect(*lane_, {scores, chunks, 0, 0, forced, selected});
    });
  }

  TensorView NewInts(std::initializer_list<int64_t> shape) {
    const TensorView sizes(nullptr, nullptr, DType::kI32, shape);
    buffers_.push_back(device_.Allocate(sizes.bytes(), "the bench"));  // zeros
    return TensorView(&device_, buffers_.back().data(), DType::kI32, shape);
  }

  void AddLinear(DType dtype, int64_t rows, double wanted) {
    const int64_t in = 4096;
    // One row: as much as the working set asks for. Many rows: the shape of Llama2-7B's MLP.
    const int64_t least = rows == 1 ? working_set_bytes_ / (in * SizeOf(dtype)) : 0;
    const int64_t out = std::max<int64_t>(11008, (least + kPanelWidth - 1) / kPanelWidth * kPanelWidth);
    LinearWeight weight{.in_features = in, .out_features = out};
    weight.panels = New(dtype, {LinearPanels(LinearForm::kPlain, out), in, kPanelWidth}, 5);
    const LinearArgs args{New(DType::kF32, {rows, in}, 6), weight, {}, New(DType::kF32, {rows, out}, 0)};
    Add(fmt::format("linear, {} row{}, {}, {} x {}", rows, rows == 1 ? "" : "s", Name(dtype), in, out),
        rows == 1 ? Limit::kRead : Limit::kFma, rows == 1 ? weight.panels.bytes() : 1.0 * rows * in * out, wanted,
        [=, this] { Linear(*lane_, args); });
  }

  // The linear layers of a retrieval pass of the demo target, as often as it takes for none to lie in the caches.
  void AddSmallLinears() {
    struct Shape {
      LinearForm form;
      int64_t in, out;
    };
    const Shape shapes[] = {{LinearForm::kPlain, 256, 768},
                            {LinearForm::kPlain, 256, 256},
                            {LinearForm::kGated, 256, 704},
                            {LinearForm::kPlain, 704, 256}};
    constexpr int64_t kLayers = 4;
    std::vector<std::vector<LinearWeight>> models;
    double bytes = 0;
    for (int64_t total = 0; total < working_set_bytes_; total += static_cast<int64_t>(bytes)) {
      std::vector<LinearWeight>& model = models.emplace_back();
      bytes = 0;
      for (int64_t i = 0; i < kLayers * std::ssize(shapes); ++i) {
        const auto& [form, in, out] = shapes[i % std::ssize(shapes)];
        LinearWeight& weight = model.emplace_back(LinearWeight{.form = form, .in_features = in, .out_features = out});
        weight.panels = New(DType::kF16, {LinearPanels(form, out), in, kPanelWidth}, static_cast<int>(i));
        bytes += static_cast<double>(weight.panels.bytes());
      }
    }
    for (const int64_t rows : {1, 2, 4, 5, 6}) {
      const TensorView x = New(DType::kF32, {rows, 704}, 11), out = New(DType::kF32, {rows, 768}, 0);
      Add(
          fmt::format("linear, {} row{}, f16, the layers of the demo target", rows, rows == 1 ? "" : "s"), Limit::kRead,
          bytes, 0,
          [=, this] {
            for (const LinearWeight& weight : models[next_layer_++ % models.size()]) {
              Linear(*lane_, {x.Slice(1, 0, weight.in_features), weight, {}, out.Slice(1, 0, weight.out_features)});
            }
          },
          static_cast<double>(rows) * bytes / 2);
    }
  }

  void AddPrefillAttention() {
    const int64_t rows = 512, heads = 4, head_dim = 128, before = 7680;
    const KvView kv = NewKv(heads, before + rows, head_dim);
    const AttentionArgs args{New(DType::kF32, {rows, heads, head_dim}, 7), kv, before + 1, true, 0.1f};
    const TensorView out = New(DType::kF32, {rows, heads, head_dim}, 0);
    const double unmasked = rows * before + rows * (rows + 1) / 2.0;
    Add(fmt::format("prefill attention, {} rows behind {}, f16, {} heads of {}", rows, before, heads, head_dim),
        Limit::kFma, 2 * unmasked * heads * head_dim, 0.40, [=, this] { AttentionPrefill(*lane_, args, out); });
  }

  double Seconds(const OpBench& bench) const {
    return fastest_ ? std::ranges::min(bench.timed.seconds) : bench.timed.median();
  }

  int Print() const {
    const double read = benches_[0].amount / Seconds(benches_[0]);
    const double fma = benches_[1].amount / Seconds(benches_[1]);
    fmt::print("{}, {} threads, working sets of {} MiB (last-level cache: {} MiB), {} of {} interleaved rounds\n",
               CpuName(), threads_, working_set_bytes_ >> 20, LastLevelCacheBytes() >> 20,
               fastest_ ? "fastest" : "medians", rounds_);
    fmt::print("limits: read {:.1f} GB/s, {:.1f} G FMA/s in f32\n\n", read * 1e-9, fma * 1e-9);
    fmt::print("{:66} {:>9} {:>12} {:>9} {:>8}\n", "op", "ms", "rate", "of limit", "wanted");
    int short_of = 0;
    for (size_t i = 2; i < benches_.size(); ++i) {
      const OpBench& bench = benches_[i];
      // What may be bound by either limit is held against the one that takes longer.
      const bool by_read = bench.other > 0 ? bench.amount / read > bench.other / fma : bench.limit == Limit::kRead;
      const double rate = (bench.other > 0 && !by_read ? bench.other : bench.amount) / Seconds(bench);
      const double share = rate / (by_read ? read : fma);
      const bool falls_short = share < bench.wanted;
      short_of += falls_short;
      fmt::print("{:66} {:9.2f} {:7.1f} {} {:8.0f}% {:>8}{}\n", bench.timed.name, Seconds(bench) * 1e3, rate * 1e-9,
                 by_read ? "GB/s" : "GF/s", share * 100,
                 bench.wanted > 0 ? fmt::format("{:.0f}%", bench.wanted * 100) : "-", falls_short ? "  short" : "");
    }
    return short_of == 0 ? 0 : 1;
  }

  const int rounds_;
  const bool fastest_;
  const std::string only_;
  size_t next_layer_ = 0;
  const int threads_;
  CpuDevice device_;
  std::unique_ptr<Lane> lane_;
  const int64_t working_set_bytes_;
  std::vector<Buffer> buffers_;
  std::vector<OpBench> benches_;
};

}  // namespace
}  // namespace triforce

int main(int argc, char** argv) {
  CLI::App app("Ops against the measured limits of this machine");
  int threads = static_cast<int>(std::thread::hardware_concurrency());
  int rounds = 9;
  app.add_option("-t,--threads", threads, "threads of the lane")->check(CLI::PositiveNumber);
  app.add_option("--rounds", rounds, "timed rounds")->check(CLI::PositiveNumber);
  bool fastest = false;
  app.add_flag("--fastest", fastest, "the fastest round of each instead of the median: where others use the machine");
  std::string only;
  app.add_option("--only", only, "only ops whose name has this in it");
  int64_t working_set_mib = 4 * triforce::LastLevelCacheBytes() >> 20;
  app.add_option("--working-set-mib", working_set_mib, "bytes that one-row ops read; default: 4 x the last-level cache")
      ->check(CLI::PositiveNumber);
  CLI11_PARSE(app, argc, argv);
  return triforce::OpsBench(threads, rounds, fastest, only, working_set_mib << 20).Run();
}
