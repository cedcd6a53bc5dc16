// How near the CUDA ops come to the limits of a GPU, measured in the same run.
//
//   ops_bench --json FILE [--device cuda:0] [--rounds 9] [--only NAME]
#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <fstream>
#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "kernels/core/cuda_lane.h"
#include "kernels/core/error.h"
#include "kernels/core/matmul.h"
#include "kernels/core/open_device.h"
#include "kernels/ops/argmax.h"
#include "kernels/ops/attention.h"
#include "kernels/ops/categorical.h"
#include "kernels/ops/chunk_means.h"
#include "kernels/ops/chunk_ranking.h"
#include "kernels/ops/chunk_scores.h"
#include "kernels/ops/chunk_select.h"
#include "kernels/ops/chunk_shares.h"
#include "kernels/ops/filtered_softmax.h"
#include "kernels/ops/kv_append.h"
#include "kernels/ops/linear.h"
#include "kernels/ops/peak.h"
#include "kernels/ops/rms_norm.h"
#include "kernels/ops/rope.h"

namespace triforce {
namespace {

// What a time is held against.
enum class Limit { kNone, kRead, kMatmul };

struct Bench {
  std::string name;
  Limit limit;
  double amount;  // bytes read, or multiply-adds, of one run
  double wanted;  // least share of the limit, or most microseconds where there is none; 0: no matter
  std::function<void()> queue;
  std::vector<double> seconds = {};

  double median() const {
    std::vector<double> sorted = seconds;
    std::ranges::sort(sorted);
    return sorted[sorted.size() / 2];
  }
};

constexpr int64_t kHeads = 32;
constexpr int64_t kHeadDim = 128;
constexpr int64_t kTokens = 127 * 1024;        // a Llama2-7B's at 128K
constexpr double kRunSeconds = 0.02;           // of one timing
constexpr int64_t kWeightBytes = 400'000'000;  // that a layer's copies are as large as: beyond any cache

class OpsBench {
 public:
  OpsBench(const std::string& device, int rounds, std::string only)
      : rounds_(rounds),
        only_(std::move(only)),
        device_(OpenDevice(device, int64_t{40} << 30, nullptr)),
        lane_(device_->NewLane({.name = "compute"})) {
    noise_.resize(int64_t{16} << 20);
    uint32_t state = 12345;
    for (F16& value : noise_) {
      state = state * 1664525u + 1013904223u;
      value = ToF16(static_cast<float>(static_cast<int32_t>(state >> 16) - 32768) * 0x1p-18f);
    }
  }

  nlohmann::json Run() {
    AddLimits();
    AddAttention();
    AddLinear();
    AddSelection();
    AddPrefill();
    AddShortOps();
    for (Bench& bench : benches_) Warm(bench);
    for (int round = 0; round < rounds_; ++round) {
      for (Bench& bench : benches_) bench.seconds.push_back(Time(bench));
    }
    return Report();
  }

 private:
  TensorView Zeros(DType dtype, std::initializer_list<int64_t> shape) {
    const TensorView sizes(nullptr, nullptr, dtype, shape);
    buffers_.push_back(device_->Allocate(sizes.bytes(), "the bench"));
    return TensorView(device_.get(), buffers_.back().data(), dtype, shape);
  }
  // Values below 1/8, of many bit patterns.
  TensorView New(DType dtype, std::initializer_list<int64_t> shape) {
    const TensorView tensor = Zeros(dtype, shape);
    if (dtype == DType::kF32) {
      std::vector<float> values(tensor.elements());
      for (size_t i = 0; i < values.size(); ++i) values[i] = ToF32(noise_[i % noise_.size()]);
      lane_->Copy(tensor.data(), values.data(), tensor.bytes(), "fill");
      lane_->Synchronize();
      return tensor;
    }
    const int64_t piece = static_cast<int64_t>(noise_.size() * sizeof(F16));
    for (int64_t at = 0; at < tensor.bytes(); at += piece) {
      lane_->Copy(static_cast<std::byte*>(tensor.data()) + at, noise_.data(), std::min(piece, tensor.bytes() - at),
                  "fill");
    }
    lane_->Synchronize();
    return tensor;
  }

  void Add(std::string name, Limit limit, double amount, double wanted, std::function<void()> queue) {
    if (benches_.size() >= 2 && name.find(only_) == std::string::npos) return;  // the first two are the limits
    benches_.push_back({std::move(name), limit, amount, wanted, std::move(queue)});
  }
  // One of several equal works after another, so that none finds its bytes in a cache.
  void AddInTurn(std::string name, Limit limit, double amount, double wanted,
                 std::vector<std::function<void()>> works) {
    auto next = std::make_shared<size_t>(0);
    Add(std::move(name), limit, amount, wanted,
        [works = std::move(works), next] { works[(*next)++ % works.size()](); });
  }

  static double Now() {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
  }
  // Seconds of one run, of as many queued in a row as fill kRunSeconds: the host is ahead of the device.
  double Time(Bench& bench) {
    const auto runs = std::max<int64_t>(1, static_cast<int64_t>(kRunSeconds / estimate_[bench.name]));
    const double begin = Now();
    for (int64_t i = 0; i < runs; ++i) bench.queue();
    lane_->Synchronize();
    return (Now() - begin) / static_cast<double>(runs);
  }
  void Warm(Bench& bench) {
    bench.queue();
    lane_->Synchronize();
    estimate_[bench.name] = 1e-3;
    for (int i = 0; i < 2; ++i) estimate_[bench.name] = std::max(1e-6, Time(bench));
  }

  void AddLimits() {
    const TensorView data = New(DType::kF32, {int64_t{512} << 20});
    const TensorView sink = Zeros(DType::kF32, {1});
    Add("read bandwidth (2 GiB)", Limit::kRead, static_cast<double>(data.bytes()), 0,
        [=, this] { PeakRead(*lane_, data, sink); });
    // cuBLASLt's rate at a size that suits it.
    constexpr int64_t kSize = 8192;
    const TensorView a = New(DType::kF16, {kSize, kSize}), b = New(DType::kF16, {kSize, kSize}),
                     out = Zeros(DType::kF32, {kSize, kSize});
    Add("matmul by cuBLASLt, f16, 8192 x 8192 x 8192", Limit::kMatmul, 1.0 * kSize * kSize * kSize, 0, [=, this] {
      Matmul(*AsCuda(*lane_), {.dtype = DType::kF16,
                               .batch = 1,
                               .rows = kSize,
                               .inner = kSize,
                               .columns = kSize,
                               .a = a.data(),
                               .a_stride = kSize,
                               .b = b.data(),
                               .out = out.as<float>()});
    });
  }

  KvView NewKv(int64_t heads, int64_t tokens, int64_t head_dim) {
    return {New(DType::kF16, {KvBlocks(tokens) * heads, 2, kKvBlock * head_dim}), heads};
  }

  void AddAttention() {
    for (const int64_t head_dim : {int64_t{128}, int64_t{64}}) {
      const KvView kv = NewKv(kHeads, kTokens, head_dim);
      for (const int64_t rows : {1, 5, 16, 64}) {
        const AttentionArgs args{New(DType::kF32, {rows, kHeads, head_dim}), kv, kTokens, false, 0.1f};
        const AttentionPartials partials{Zeros(DType::kF32, {kv.entries(), rows, 1, head_dim}),
                                         Zeros(DType::kF32, {kv.entries(), rows, 1}),
                                         Zeros(DType::kF32, {kv.entries(), rows, 1})};
        const AttentionState state{Zeros(DType::kF32, {rows, kHeads, head_dim}), Zeros(DType::kF32, {rows, kHeads}),
                                   Zeros(DType::kF32, {rows, kHeads})};
        const std::string shape = fmt::format("{} row{}, f16, {} tokens x {} heads of {}", rows, rows == 1 ? "" : "s",
                                              kTokens, kHeads, head_dim);
        Add("attention, " + shape, Limit::kRead, static_cast<double>(kv.blocks.bytes()),
            rows == 1 || rows == 16 ? 0.85 : 0, [=, this] {
              AttentionPartial(*lane_, args, partials);
              AttentionMerge(*lane_, {partials, kHeads, 0, state, true, true});
            });
        Add("merge alone, " + shape, Limit::kNone, 0, 0, [=, this] {
          AttentionMerge(*lane_, {partials, kHeads, 0, state, true, true});
        });
      }
    }
  }

  LinearWeight Weight(LinearForm form, int64_t in, int64_t out) {
    LinearWeight weight{.form = form, .in_features = in, .out_features = out};
    weight.panels = New(DType::kF16, {LinearPanels(form, out), in, kPanelWidth});
    return weight;
  }

  void AddLinear() {
    struct Shape {
      LinearForm form;
      int64_t in, out;
      double wanted;
    };
    for (const Shape& s : {Shape{LinearForm::kPlain, 4096, 11008, 0.8},
                           {LinearForm::kPlain, 5120, 13824, 0.8},
                           {LinearForm::kPlain, 4096, 12288, 0},
                           {LinearForm::kPlain, 4096, 4096, 0},
                           {LinearForm::kGated, 4096, 11008, 0},
                           {LinearForm::kPlain, 11008, 4096, 0},
                           {LinearForm::kPlain, 4096, 32000, 0}}) {
      std::vector<LinearWeight> weights;
      do weights.push_back(Weight(s.form, s.in, s.out));
      while (static_cast<int64_t>(weights.size()) * weights[0].panels.bytes() < kWeightBytes);
      for (const int64_t rows : {1, 4, 16, 32, 64, 512}) {
        const TensorView x = New(DType::kF32, {rows, s.in}), out = Zeros(DType::kF32, {rows, s.out});
        std::vector<std::function<void()>> works;
        for (const LinearWeight& weight : weights) works.push_back([=, this] { Linear(*lane_, {x, weight, {}, out}); });
        const double macs = static_cast<double>(rows) * s.in * s.out * (s.form == LinearForm::kGated ? 2 : 1);
        AddInTurn(fmt::format("linear{}, {} rows, f16, {} x {}", s.form == LinearForm::kGated ? ", gated" : "", rows,
                              s.in, s.out),
                  rows <= 64 ? Limit::kRead : Limit::kMatmul,
                  rows <= 64 ? static_cast<double>(weights[0].panels.bytes()) : macs, rows <= 32 ? s.wanted : 0,
                  std::move(works));
      }
    }
  }

  void AddSelection() {
    const int64_t chunks = kTokens / kKeyTile, chosen = 512, rows = 16;
    std::vector<TensorView> means;
    for (int i = 0; i < 4; ++i) means.push_back(New(DType::kF16, {kHeads, chunks, kHeadDim}));
    const TensorView q = New(DType::kF32, {rows, kHeads, kHeadDim}), scores = Zeros(DType::kF32, {kHeads, chunks});
    const TensorView forced = Zeros(DType::kI32, {kHeads, 16}), selected = Zeros(DType::kI32, {kHeads, chosen});
    const TensorView one = q.Slice(0, 0, 1).Reshape({kHeads, kHeadDim});
    const auto bytes = static_cast<double>(means[0].bytes());
    std::vector<std::function<void()>> score, both, share;
    for (const TensorView& m : means) {
      score.push_back([=, this] { ChunkScores(*lane_, {one, m, chunks, scores}); });
      both.push_back([=, this] {
        ChunkScores(*lane_, {one, m, chunks, scores});
        ChunkSelect(*lane_, {scores, chunks, 0, 0, forced, selected});
      });
      share.push_back([=, this] { ChunkShares(*lane_, {q, m, chunks, 0.1f, scores}); });
    }
    AddInTurn("chunk_scores, 16256 chunks x 32 heads of 128", Limit::kRead, bytes, 0, score);
    AddInTurn("chunk_scores and chunk_select, 512 of 16256 chunks x 32 heads", Limit::kNone, 0, 150, both);
    AddInTurn("chunk_shares, 16 rows, 16256 chunks x 32 heads of 128", Limit::kRead, bytes, 0, share);
    const TensorView order = Zeros(DType::kI32, {kHeads, chunks});
    Add("chunk_ranking, 16256 chunks x 32 heads", Limit::kNone, 0, 0, [=, this] {
      ChunkRanking(*lane_, {scores, chunks, order});
    });
    const KvView kv = NewKv(kHeads, kTokens, kHeadDim);
    Add("chunk_means, 16256 chunks x 32 heads of 128", Limit::kRead, static_cast<double>(kv.blocks.bytes()) / 2, 0,
        [=, this, to = means[0]] {
          ChunkMeans(*lane_, {kv, 0, chunks, to});
        });
  }

  void AddPrefill() {
    for (const int64_t head_dim : {int64_t{128}, int64_t{64}}) {
      for (const auto& [rows, before] : {std::pair<int64_t, int64_t>{2048, 14336}, {4096, 0}}) {
        const KvView kv = NewKv(kHeads, before + rows, head_dim);
        const AttentionArgs args{New(DType::kF32, {rows, kHeads, head_dim}), kv, before + 1, true, 0.1f};
        const TensorView out = Zeros(DType::kF32, {rows, kHeads, head_dim});
        const double unmasked = static_cast<double>(rows) * before + rows * (rows + 1) / 2.0;
        Add(fmt::format("prefill attention, {} rows behind {}, f16, {} heads of {}", rows, before, kHeads, head_dim),
            Limit::kMatmul, 2 * unmasked * kHeads * head_dim, head_dim == 128 ? 0.35 : 0,
            [=, this] { AttentionPrefill(*lane_, args, out); });
      }
    }
  }

  void AddShortOps() {
    const int64_t rows = 16, hidden = 4096, vocab = 32000;
    const TensorView x = New(DType::kF32, {rows, hidden}), weight = New(DType::kF32, {hidden}),
                     out = Zeros(DType::kF32, {rows, hidden});
    Add("rms_norm, 16 rows of 4096", Limit::kNone, 0, 0, [=, this] {
      RmsNorm(*lane_, {x, weight, 1e-5f, {}, {}, out});
    });
    const TensorView cos = New(DType::kF32, {rows, kHeadDim / 2}), sin = New(DType::kF32, {rows, kHeadDim / 2});
    const TensorView q = New(DType::kF32, {rows, kHeads, kHeadDim});
    Add("rope, 16 rows x 32 heads of 128", Limit::kNone, 0, 0, [=, this] { Rope(*lane_, {q, cos, sin}); });
    const KvView kv = NewKv(kHeads, kKvBlock, kHeadDim);
    Add("kv_append, 16 rows x 32 heads of 128", Limit::kNone, 0, 0, [=, this] { KvAppend(*lane_, {q, q, 7, kv}); });
    const TensorView logits = New(DType::kF32, {rows, vocab}), laws = Zeros(DType::kF32, {rows, vocab});
    Add("filtered_softmax, 16 rows of 32000, T 0.6, top-p 0.9", Limit::kNone, 0, 0, [=, this] {
      FilteredSoftmax(*lane_, {logits, {.temperature = 0.6f, .top_p = 0.9f}, laws});
    });
    const TensorView ids = Zeros(DType::kI32, {rows}), bits = Zeros(DType::kI32, {rows, 2});
    Add("categorical, 16 rows of 32000", Limit::kNone, 0, 0, [=, this] { Categorical(*lane_, {laws, bits, ids}); });
    Add("argmax, 16 rows of 32000", Limit::kNone, 0, 0, [=, this] { Argmax(*lane_, {logits, ids}); });
  }

  nlohmann::json Report() const {
    const double read = benches_[0].amount / benches_[0].median(), matmul = benches_[1].amount / benches_[1].median();
    nlohmann::json report = {{"read_gbps", read * 1e-9}, {"matmul_tflops", 2 * matmul * 1e-12}};
    for (const GpuFacts& gpu : FindGpus()) {
      if (gpu.device == device_->name()) report["gpu"] = gpu.name, report["driver"] = gpu.driver;
    }
    fmt::print("limits: read {:.0f} GB/s; matmul {:.0f} TFLOP/s in f16\n\n{:72} {:>10} {:>12} {:>9} {:>8}\n",
               read * 1e-9, 2 * matmul * 1e-12, "op", "us", "rate", "of limit", "wanted");
    for (const Bench& b : benches_) {
      const double seconds = b.median();
      nlohmann::json line = {{"name", b.name}, {"us", seconds * 1e6}, {"least_us", std::ranges::min(b.seconds) * 1e6}};
      std::string rate, share, wanted = "-";
      bool falls_short = b.limit == Limit::kNone && b.wanted > 0 && seconds * 1e6 > b.wanted;
      if (b.limit == Limit::kNone) {
        if (b.wanted > 0) wanted = fmt::format("{:.0f} us", b.wanted);
      } else {
        const double of_limit = b.amount / seconds / (b.limit == Limit::kRead ? read : matmul);
        rate = b.limit == Limit::kRead ? fmt::format("{:.0f} GB/s", b.amount / seconds * 1e-9)
                                       : fmt::format("{:.1f} TF/s", 2 * b.amount / seconds * 1e-12);
        share = fmt::format("{:.0f}%", of_limit * 100);
        if (b.wanted > 0) wanted = fmt::format("{:.0f}%", b.wanted * 100);
        falls_short = of_limit < b.wanted;
        line["of_limit"] = of_limit;
      }
      if (b.wanted > 0) line["wanted"] = b.wanted, line["falls_short"] = falls_short;
      fmt::print("{:72} {:10.1f} {:>12} {:>9} {:>8}{}\n", b.name, seconds * 1e6, rate, share, wanted,
                 falls_short ? "  short" : "");
      report["ops"].push_back(line);
    }
    return report;
  }

  const int rounds_;
  const std::string only_;
  const std::unique_ptr<Device> device_;
  const std::unique_ptr<Lane> lane_;
  std::vector<F16> noise_;
  std::vector<Buffer> buffers_;
  std::vector<Bench> benches_;
  std::map<std::string, double> estimate_;
};

int Main(int argc, char** argv) {
  CLI::App app("CUDA ops against the measured limits of their device");
  std::string device = "cuda:0", json, only;
  int rounds = 9;
  app.add_option("--device", device, "cuda:N")->capture_default_str();
  app.add_option("--json", json, "write the figures")->type_name("FILE");
  app.add_option("--rounds", rounds, "timed rounds, interleaved; medians count")->check(CLI::PositiveNumber);
  app.add_option("--only", only, "only ops whose name has this in it");
  CLI11_PARSE(app, argc, argv);
  const nlohmann::json report = OpsBench(device, rounds, only).Run();
  if (!json.empty() && !(std::ofstream(json) << report.dump(1) << "\n"))
    throw Error(ErrorKind::kIo, json, "cannot be written");
  return 0;
}

}  // namespace
}  // namespace triforce

int main(int argc, char** argv) {
  try {
    return triforce::Main(argc, argv);
  } catch (const triforce::Error& error) {
    fmt::print(stderr, "error: {}\n", error.what());
    return 1;
  }
}
