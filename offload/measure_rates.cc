#include "offload/measure_rates.h"

#include <fmt/chrono.h>
#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <ctime>
#include <memory>
#include <utility>
#include <vector>

#include "kernels/core/arena.h"
#include "kernels/core/check.h"
#include "kernels/core/cpu_device.h"
#include "kernels/ops/linear.h"
#include "kernels/ops/peak.h"
#include "kernels/ops/rms_norm.h"
#include "offload/host_pool.h"
#include "offload/measure_disk.h"
#include "offload/plan_sizes.h"

namespace triforce {
namespace {

constexpr int64_t kMostDiskBytes = int64_t{256} << 20;
constexpr int64_t kIn = 4096;  // features of the linear layers, as in Llama2-7B
constexpr int64_t kMatmulRows = 512;
constexpr int64_t kMostMatmulOut = 2048;
constexpr int64_t kChainWidth = 256;  // of the tiny ops: four panels, so that their cost has the lane's helpers in it
constexpr int64_t kChainPairs = 256;
constexpr int kCopyPasses = 3;  // one after another, as passes stream
constexpr int kLeastRounds = 3;
constexpr int kMostRounds = 15;

double SecondsSince(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

// One of the measurements that take turns.
struct Work {
  double amount = 0;            // of one run: bytes, operations
  std::function<double()> run;  // does the work once and returns its seconds
  std::vector<double> seconds;  // one entry a round

  double Median() const {
    std::vector<double> sorted = seconds;
    std::sort(sorted.begin(), sorted.end());
    return std::max(sorted[sorted.size() / 2], 1e-9);
  }
  double GigaPerSecond() const { return amount * 1e-9 / Median(); }
};

// Prefill attention has no measurement of its own yet: it is two matmuls and a softmax, which on the CPU come to about
// 0.7 of the linear layers' rate.
double AttentionGflops(double matmul_gflops) { return 0.7 * matmul_gflops; }

class Measurement {
 public:
  Measurement(Device& device, const MeasureOptions& options)
      : options_(options),
        panel_count_(std::max<int64_t>(1, (options.working_set_bytes + kPanelBytes - 1) / kPanelBytes)),
        bytes_(panel_count_ * kPanelBytes),
        pool_({.bytes = bytes_, .threads = options.threads}),
        pin_(device.Pin(pool_.memory())),
        host_data_(pool_.Cut(bytes_, "measuring")),
        piece_bytes_(std::min(bytes_, DefaultSlotBytes(device.type() == DeviceType::kCpu))),
        landing_(device.Allocate(2 * kDefaultSlots * piece_bytes_, "measuring copies")),
        host_(int64_t{1} << 20),
        compute_(device.NewLane({.name = "compute", .threads = options.threads})),
        copy_(device.NewLane({.name = "copy"})),
        copy_back_(device.NewLane({.name = "copy back"})),
        host_lane_(host_.NewLane({.name = "host", .threads = options.threads})),
        device_(device),
        host_sink_(host_, 4096, "measuring host reads") {
    FillHostData();
    MakeTensors();
    AddOps();
    AddCopies();
  }

  Rates Run() {
    for (Work* const work : All()) {  // warms up
      Pause();
      work->run();
    }
    const auto begin = std::chrono::steady_clock::now();
    for (int round = 0; round < kMostRounds; ++round) {
      const double each = round == 0 ? 0 : SecondsSince(begin) / round;
      if (round >= kLeastRounds && SecondsSince(begin) + each > options_.seconds) break;
      for (Work* const work : All()) {
        Pause();
        work->seconds.push_back(work->run());
      }
    }
    Rates rates = options_.assumed;
    rates.device_read_gbps = device_read_.GigaPerSecond();
    rates.matmul_gflops = matmul_.GigaPerSecond();
    rates.attention_gflops = AttentionGflops(rates.matmul_gflops);
    rates.op_us = chain_.Median() / chain_.amount * 1e6;
    rates.link_to_device_gbps = to_device_.GigaPerSecond();
    rates.link_to_host_gbps = to_host_.GigaPerSecond();
    rates.link_both_gbps = both_.GigaPerSecond();
    rates.compute_share_copying = std::min(1.0, read_while_copying_.GigaPerSecond() / rates.device_read_gbps);
    rates.host_read_gbps = host_read_.GigaPerSecond();
    return rates;
  }

 private:
  static constexpr int64_t kPanelBytes = kIn * kPanelWidth * 2;

  std::vector<Work*> All() {
    // read_while_copying_ wants the times of two others of the same round.
    return {&device_read_, &to_device_, &read_while_copying_, &to_host_, &both_, &matmul_, &chain_, &host_read_};
  }

  // Lets go where the caller wants to stop: a round of a large working set takes seconds.
  void Pause() const {
    if (options_.between_rounds) options_.between_rounds();
  }

  // Small f16 numbers of many bit patterns, which taken for f32 are no denormals either.
  void FillHostData() {
    auto* const words = reinterpret_cast<uint16_t*>(host_data_.data());
    uint32_t state = 12345;
    constexpr int64_t kWordsBetweenPauses = 1 << 24;
    for (int64_t i = 0; i < bytes_ / 2; ++i) {
      if (i % kWordsBetweenPauses == 0) Pause();
      state = state * 1664525u + 1013904223u;
      words[i] = static_cast<uint16_t>(0x2000u | ((state >> 16) & 0x8fffu));
    }
  }

  TensorView New(DType dtype, std::initializer_list<int64_t> shape) {
    arenas_.emplace_back(device_, TensorView(nullptr, nullptr, dtype, shape).bytes(), "measuring");
    const TensorView tensor = arenas_.back().Cut(dtype, shape);
    for (int64_t at = 0; at < tensor.bytes(); at += bytes_) {
      compute_->Copy(static_cast<std::byte*>(tensor.data()) + at, host_data_.data(),
                     std::min(bytes_, tensor.bytes() - at), "fill");
    }
    compute_->Synchronize();
    return tensor;
  }

  void MakeTensors() {
    const int64_t out = panel_count_ * kPanelWidth;
    const int64_t matmul_out = std::min(out, kMostMatmulOut);
    panels_ = New(DType::kF16, {panel_count_, kIn, kPanelWidth});
    x_ = New(DType::kF32, {kMatmulRows, kIn});
    one_row_ = {x_.Slice(0, 0, 1), {.in_features = kIn, .out_features = out, .panels = panels_}};
    one_row_.out = New(DType::kF32, {1, out});
    many_rows_ = {x_, {.in_features = kIn, .out_features = matmul_out}};
    many_rows_.weight.panels = panels_.Slice(0, 0, matmul_out / kPanelWidth);
    many_rows_.out = New(DType::kF32, {kMatmulRows, matmul_out});
    // Each op reads what the one before has written. The norm keeps the numbers from running away.
    norm_ = {.x = New(DType::kF32, {1, kChainWidth}), .weight = New(DType::kF32, {kChainWidth})};
    norm_.out = New(DType::kF32, {1, kChainWidth});
    small_ = {norm_.out.Slice(1, 0, kPanelWidth), {.in_features = kPanelWidth, .out_features = kChainWidth}};
    small_.weight.panels = New(DType::kF16, {kChainWidth / kPanelWidth, kPanelWidth, kPanelWidth});
    small_.out = norm_.x;
    sink_ = host_sink_.Cut(DType::kF32, {1});
  }

  // `queue`, timed until `lanes` are empty.
  template <typename Queue>
  static double Time(std::initializer_list<Lane*> lanes, const Queue& queue) {
    const auto begin = std::chrono::steady_clock::now();
    queue();
    for (Lane* const lane : lanes) lane->Synchronize();
    return SecondsSince(begin);
  }

  void AddOps() {
    device_read_.amount = static_cast<double>(bytes_);
    device_read_.run = [this] { return Time({compute_.get()}, [this] { Linear(*compute_, one_row_); }); };
    matmul_.amount = 2.0 * kMatmulRows * kIn * static_cast<double>(many_rows_.weight.out_features);
    matmul_.run = [this] { return Time({compute_.get()}, [this] { Linear(*compute_, many_rows_); }); };
    chain_.amount = 2 * kChainPairs;
    chain_.run = [this] {
      return Time({compute_.get()}, [this] {
        for (int64_t pair = 0; pair < kChainPairs; ++pair) {
          RmsNorm(*compute_, norm_);
          Linear(*compute_, small_);
        }
      });
    };
    host_read_.amount = static_cast<double>(bytes_);
    host_read_.run = [this] {
      const TensorView data(&host_, host_data_.data(), DType::kF32, {bytes_ / 4});
      return Time({host_lane_.get()}, [&] { PeakRead(*host_lane_, data, sink_); });
    };
  }

  // Queues the bytes [begin, end) of the working set, piece by piece, to or from places on the device that take turns,
  // as the ring does; each way has its own.
  void QueueCopies(Lane& lane, bool to_device, int64_t begin, int64_t end) {
    std::byte* const places = landing_.data() + (to_device ? 0 : kDefaultSlots * piece_bytes_);
    for (int64_t at = begin; at < end; at += piece_bytes_) {
      std::byte* const on_host = host_data_.data() + at;
      std::byte* const on_device = places + at / piece_bytes_ % kDefaultSlots * piece_bytes_;
      lane.Copy(to_device ? on_device : on_host, to_device ? on_host : on_device, std::min(piece_bytes_, end - at),
                "copy");
    }
  }

  void AddCopies() {
    both_.amount = read_while_copying_.amount = static_cast<double>(bytes_);
    to_device_.amount = to_host_.amount = static_cast<double>(kCopyPasses * bytes_);
    const auto copy = [this](bool to_device) {
      return Time({copy_.get()}, [&] {
        for (int pass = 0; pass < kCopyPasses; ++pass) QueueCopies(*copy_, to_device, 0, bytes_);
      });
    };
    to_device_.run = [copy] { return copy(true); };
    to_host_.run = [copy] { return copy(false); };
    both_.run = [this] {
      return Time({copy_.get(), copy_back_.get()}, [this] {
        const int64_t half = bytes_ / 2;
        QueueCopies(*copy_, true, 0, half);
        QueueCopies(*copy_back_, false, half, bytes_);
      });
    };
    read_while_copying_.run = [this] { return ReadWhileCopying(); };
  }

  // As device_read_, with enough copies beside it for four times as long as it takes alone.
  double ReadWhileCopying() {
    if (device_read_.seconds.empty()) return 0;  // warming up
    const double pass_seconds = std::max(to_device_.seconds.back() / kCopyPasses, 1e-6);
    const double passes = 4 * device_read_.seconds.back() / pass_seconds;
    for (int pass = 0; pass < std::clamp(static_cast<int>(std::ceil(passes)), 1, 100); ++pass) {
      QueueCopies(*copy_, true, 0, bytes_);
    }
    const double seconds = device_read_.run();
    copy_->Synchronize();
    return seconds;
  }

  const MeasureOptions& options_;
  const int64_t panel_count_;
  const int64_t bytes_;  // of the working set
  HostPool pool_;
  const std::unique_ptr<HostPin> pin_;
  const std::span<std::byte> host_data_;
  const int64_t piece_bytes_;  // a slot's
  const Buffer landing_;       // where copies go, and come back from
  CpuDevice host_;             // for reading host memory, whatever `device` is
  std::vector<Arena> arenas_;
  const std::unique_ptr<Lane> compute_, copy_, copy_back_, host_lane_;
  Device& device_;
  Arena host_sink_;
  TensorView panels_, x_, sink_;
  LinearArgs one_row_, many_rows_, small_;
  RmsNormArgs norm_;
  Work device_read_, to_device_, read_while_copying_, to_host_, both_, matmul_, chain_, host_read_;
};

}  // namespace

Rates MeasureRates(Device& device, const MeasureOptions& options) {
  TF_CHECK(options.threads >= 1 && options.working_set_bytes >= 0);
  Rates rates = Measurement(device, options).Run();
  rates.source = fmt::format("measured {:%Y-%m-%d}", fmt::localtime(std::time(nullptr)));
  if (options.disk_directory) {
    const DiskRates disk = MeasureDisk(*options.disk_directory, std::min(options.working_set_bytes, kMostDiskBytes),
                                       options.between_rounds);
    rates.disk_read_gbps = disk.read_gbps;
    rates.disk_write_gbps = disk.write_gbps;
  } else {
    rates.source += ", the disk assumed";
  }
  return rates;
}

}  // namespace triforce
