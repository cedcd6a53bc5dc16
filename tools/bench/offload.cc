// bazel run -c opt //tools/bench:offload: how near streamed decoding comes to the link's and the disk's rate, and to
// what the plan predicts. One prefill is shared by all configurations; they take turns, and all ratios are of one run.
#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "kernels/core/cpu_device.h"
#include "kernels/core/error.h"
#include "kernels/core/lane.h"
#include "kernels/core/trace.h"
#include "models/json_file.h"
#include "models/tokenizer.h"
#include "offload/measure_rates.h"
#include "runtime/engine.h"
#include "tools/bench/timing.h"

namespace triforce {
namespace {

constexpr int64_t kGiB = int64_t{1} << 30;
constexpr int64_t kPredict = 256;
constexpr int64_t kWarmupSteps = 3;  // of a turn: the ring is full when it begins

struct Flags {
  std::string model = "models/demo/target";
  std::string book = "models/demo/books/The_Time_Machine.txt";
  std::string disk = "/tmp";
  std::string trace;
  int64_t tokens = 28000;
  int64_t steps = 20;
  int rounds = 5;
  int threads = 0;
  int64_t trace_of = 1;               // which configuration is traced
  int64_t slots = 0, slot_bytes = 0;  // 0: as the plan chooses
};

struct Configuration {
  std::string name;
  PlanOptions options;
  double link_gbps = 0;  // 0: not throttled
  int64_t disk_bytes = 0;
  // What the ratio is of: the link's rate, the disk's, or nothing.
  enum class Limit { kNone, kLink, kDisk } limit = Limit::kNone;
};

struct Running {
  Configuration configuration;
  std::unique_ptr<Engine> engine;
  std::unique_ptr<Session> session;
  std::vector<double> step_ms;
  double median_ms() const { return Timed{"", {}, step_ms}.median(); }
};

double Milliseconds(std::chrono::steady_clock::time_point since) {
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - since).count();
}

// fio reading a file in `directory`, directly, in blocks of `block_bytes`; it stays for the next turn.
class Fio {
 public:
  Fio(const std::string& directory, int64_t block_bytes)
      : file_(directory + "/triforce-fio.tmp"),
        command_(fmt::format("fio --name=read --filename={} --rw=read --bs={} --size=256M --time_based --runtime=1 "
                             "--direct=1 --ioengine=io_uring --iodepth=8 --output-format=json 2>/dev/null",
                             file_, block_bytes)) {}
  ~Fio() { std::remove(file_.c_str()); }
  Fio(const Fio&) = delete;
  Fio& operator=(const Fio&) = delete;

  // Reads for a second. Does nothing where fio is not installed.
  void Turn() {
    const std::unique_ptr<std::FILE, int (*)(std::FILE*)> pipe(::popen(command_.c_str(), "r"), &::pclose);
    std::string text;
    std::array<char, 4096> part;
    while (pipe != nullptr && std::fgets(part.data(), part.size(), pipe.get()) != nullptr) text += part.data();
    const auto json = nlohmann::json::parse(text.substr(std::min(text.size(), text.find('{'))), nullptr, false);
    if (!json.is_discarded()) gbps_.push_back(json["jobs"][0]["read"]["bw_bytes"].get<double>() * 1e-9);
  }
  // The median of all turns; nothing where there was none.
  std::optional<double> gbps() const {
    if (gbps_.empty()) return std::nullopt;
    return Timed{"", {}, gbps_}.median();
  }

 private:
  const std::string file_;
  const std::string command_;
  std::vector<double> gbps_;
};

// Of a trace's last turn, the part of the time from the first slot's begin to the last one's end in which the copy lane
// was moving bytes to the device. Turns are apart by more than any wait within one.
double CopyLaneBusy(const std::string& trace) {
  constexpr double kBetweenTurnsUs = 50'000;
  const nlohmann::json events = ParseJson(ReadFile(trace, int64_t{1} << 30), trace)["traceEvents"];
  std::vector<std::pair<double, double>> slots;  // begin and end
  for (const nlohmann::json& event : events) {
    if (event["ph"] != "X" || !event["name"].get<std::string>().ends_with("to device")) continue;
    slots.emplace_back(event["ts"].get<double>(), event["ts"].get<double>() + event["dur"].get<double>());
  }
  std::sort(slots.begin(), slots.end());
  double begin = 0, end = -2 * kBetweenTurnsUs, busy = 0;
  for (const auto& [slot_begin, slot_end] : slots) {
    if (slot_begin - end > kBetweenTurnsUs) begin = slot_begin, busy = 0;
    busy += slot_end - slot_begin;
    end = slot_end;
  }
  return slots.empty() ? 0 : busy / (end - begin);
}

// Field by field, of several measurements.
Rates MedianRates(const std::vector<Rates>& all) {
  Rates median = all.front();
  for (double Rates::*const field :
       {&Rates::device_read_gbps, &Rates::matmul_gflops, &Rates::attention_gflops, &Rates::op_us,
        &Rates::link_to_device_gbps, &Rates::link_to_host_gbps, &Rates::link_both_gbps, &Rates::compute_share_copying,
        &Rates::host_read_gbps, &Rates::disk_read_gbps, &Rates::disk_write_gbps}) {
    std::vector<double> values;
    for (const Rates& rates : all) values.push_back(rates.*field);
    median.*field = Timed{"", {}, values}.median();
  }
  return median;
}

class OffloadBench {
 public:
  explicit OffloadBench(const Flags& flags) : flags_(flags) {
    threads_ = flags.threads > 0 ? flags.threads : static_cast<int>(std::thread::hardware_concurrency());
    if (!flags.trace.empty()) trace_ = std::make_unique<Trace>(1 << 22);
  }

  void Run() {
    MeasureMachine();
    Prefill();
    for (Configuration& configuration : Configurations()) Start(std::move(configuration));
    fio_ = std::make_unique<Fio>(flags_.disk, running_.back().engine->plan().ring.slot_bytes);
    for (int round = 0; round < flags_.rounds; ++round) {
      for (Running& running : running_) Turn(running);
      fio_->Turn();
      MeasureMachine();
    }
    Print();
    if (trace_ == nullptr) return;
    trace_->Write(flags_.trace);
    fmt::print("{}, last turn: the copy lane is busy {:.1f} % of the time from the first slot to the last\n",
               running_.at(flags_.trace_of).configuration.name, 100 * CopyLaneBusy(flags_.trace));
  }

 private:
  // The machine takes its turns too: others share it, and its speed changes while all this runs.
  void MeasureMachine() {
    CpuDevice device(8 * kGiB);
    measured_.push_back(
        MeasureRates(device, {.threads = threads_,
                              .working_set_bytes = std::max<int64_t>(4 * LastLevelCacheBytes(), 64 << 20),
                              .disk_directory = flags_.disk,
                              .seconds = 2,
                              .assumed = AssumedCpuRates()}));
    rates_ = MedianRates(measured_);
  }

  EngineOptions Options(const Configuration& configuration) const {
    EngineOptions options{.model_directory = flags_.model,
                          .plan = {.context_tokens = flags_.tokens + kPredict + Steps(),
                                   .predict_tokens = kPredict + Steps(),
                                   .device_bytes = 2 * kGiB,
                                   .host_bytes = kGiB,
                                   .disk_bytes = configuration.disk_bytes,
                                   .rates = rates_,
                                   .link_gbps = configuration.link_gbps,
                                   .options = configuration.options},
                          .threads = threads_,
                          .disk_directory = flags_.disk};
    if (flags_.slots > 0) options.plan.options.slots = flags_.slots;
    if (flags_.slot_bytes > 0) options.plan.options.slot_bytes = flags_.slot_bytes;
    return options;
  }
  int64_t Steps() const { return flags_.rounds * (flags_.steps + kWarmupSteps) + 50; }

  void Prefill() {
    const Configuration resident{.name = "all resident"};
    Start(resident, /*copy=*/false);
    Running& first = running_.front();
    const Tokenizer tokenizer(flags_.model, first.engine->config());
    std::vector<TokenId> tokens = tokenizer.Encode(ReadFile(flags_.book, 1 << 30), flags_.book);
    if (static_cast<int64_t>(tokens.size()) < flags_.tokens) {
      throw Error(ErrorKind::kInvalidInput, flags_.book, fmt::format("has {} tokens", tokens.size()));
    }
    tokens.resize(flags_.tokens);
    const auto begin = std::chrono::steady_clock::now();
    first.session->Append(tokens);
    first.engine->lane().Synchronize();
    prefill_ms_ = Milliseconds(begin);
    // A copy of its own, so that all start alike.
    original_ = std::move(running_.front());
    running_.clear();
    Start(resident);
    for (int i = 0; i < 3; ++i) Turn(running_.front());
    resident_ms_ = running_.front().median_ms();
    running_.front().step_ms.clear();
  }

  std::vector<Configuration> Configurations() const {
    using Limit = Configuration::Limit;
    const PlanOptions kv{.resident_kv_bytes = 0};
    const PlanOptions both{.resident_weight_bytes = 0, .resident_kv_bytes = 0};
    const PlanOptions weights{.resident_weight_bytes = 0};
    const PlanOptions disk{
        .resident_weight_bytes = 0, .resident_kv_bytes = 0, .host_weight_bytes = 0, .host_kv_bytes = 0};
    const PlanOptions kv_on_disk{.resident_kv_bytes = 0, .host_kv_bytes = 0};
    const int64_t kv_bytes = original_.engine->plan().device.BytesOf("resident KV");
    const PlanOptions half{.resident_kv_bytes = kv_bytes / 2}, eighth{.resident_kv_bytes = kv_bytes / 8};
    const double fortieth = rates_.device_read_gbps / 40;
    return {{"KV streamed, transfers 3 x the resident step", kv, ThirdRate(kv), 0, Limit::kLink},
            {"KV streamed, link 1/40 of read", kv, fortieth, 0, Limit::kLink},
            {"KV and weights streamed, 3 x", both, ThirdRate(both), 0, Limit::kLink},
            {"KV and weights streamed, 1/40", both, fortieth, 0, Limit::kLink},
            {"weights streamed, 1/40", weights, fortieth, 0, Limit::kLink},
            {"KV half resident, 1/40", half, fortieth, 0, Limit::kLink},
            {"KV 1/8 resident, 1/40", eighth, fortieth, 0, Limit::kLink},
            {"KV streamed, link not throttled", kv, 0, 0, Limit::kNone},
            {"KV on disk, not throttled", kv_on_disk, 0, 2 * kGiB, Limit::kDisk},
            {"KV and weights on disk, not throttled", disk, 0, 2 * kGiB, Limit::kDisk}};
  }

  // The link's rate at which a pass' transfers take three times the resident step.
  double ThirdRate(const PlanOptions& options) const {
    PlanInput input = CompletePlanInput(Options({.options = options}));
    return static_cast<double>(MakePlan(input).StreamedBytesPerPass()) / (3 * resident_ms_ * 1e6);
  }

  void Start(Configuration configuration, bool copy = true) {
    EngineOptions options = Options(configuration);
    if (copy && static_cast<int64_t>(running_.size()) == flags_.trace_of) options.trace = trace_.get();
    Running running{.configuration = std::move(configuration), .engine = std::make_unique<Engine>(options)};
    running.session = running.engine->NewSession();
    if (copy) running.session->CopyFrom(*original_.session);
    running_.push_back(std::move(running));
  }

  // What the plan expects where the machine is as fast as the medians of this run. Rates move no bytes.
  PlanTimes Predicted(Plan plan) const {
    plan.input.rates = rates_;
    return PredictTimes(plan);
  }

  void Turn(Running& running) const {
    for (int64_t i = 0; i < flags_.steps + kWarmupSteps; ++i) {
      const TokenId token = running.session->tokens()[100 + i];
      const auto begin = std::chrono::steady_clock::now();
      running.session->Append({&token, 1});
      running.engine->lane().Synchronize();
      if (i >= kWarmupSteps) running.step_ms.push_back(Milliseconds(begin));
    }
  }

  void Print() {
    fmt::print("{}, {} threads; read {:.1f} GB/s, copy {:.1f} GB/s, disk read {:.2f} GB/s, op {:.1f} us\n", CpuName(),
               threads_, rates_.device_read_gbps, rates_.link_to_device_gbps, rates_.disk_read_gbps, rates_.op_us);
    fmt::print("prefill of {} tokens: {:.2f} s, predicted {:.2f} s\n", flags_.tokens, prefill_ms_ * 1e-3,
               Predicted(original_.engine->plan()).prefill_ms * 1e-3);
    fmt::print("{:46} {:>8} {:>9} {:>6} {:>8} {:>7}\n", "", "MB/pass", "ms/token", "ratio", "planned", "of it");
    for (const Running& running : running_) {
      const Plan& plan = running.engine->plan();
      const double planned_ms = Predicted(plan).decode_ms;
      const double ms = running.median_ms(), mb = static_cast<double>(plan.StreamedBytesPerPass()) * 1e-6;
      std::string ratio = "-";
      if (running.configuration.limit == Configuration::Limit::kLink) {
        ratio = fmt::format("{:.3f}", ms / (mb / running.configuration.link_gbps));
      } else if (running.configuration.limit == Configuration::Limit::kDisk) {
        const double gbps = static_cast<double>(plan.DiskBytesPerPass()) / ms * 1e-6;
        if (fio_->gbps()) ratio = fmt::format("{:.2f} d", gbps / *fio_->gbps());
      }
      fmt::print("{:46} {:8.1f} {:9.3f} {:>6} {:8.3f} {:7.3f}\n", running.configuration.name, mb, ms, ratio, planned_ms,
                 ms / planned_ms);
    }
    fmt::print("ratio: to bytes / link rate, wanted at most 1.08\n");
    if (fio_->gbps()) {
      fmt::print("d: of fio's {:.2f} GB/s, direct, in blocks of a slot, wanted at least 0.85\n", *fio_->gbps());
    } else {
      fmt::print("the disk's share is left out: fio is not installed\n");
    }
  }

  const Flags flags_;
  int threads_ = 1;
  std::unique_ptr<Trace> trace_;  // of the first streamed configuration
  std::vector<Rates> measured_;
  Rates rates_;       // their median
  Running original_;  // whose prefill all share
  double prefill_ms_ = 0;
  double resident_ms_ = 0;
  std::vector<Running> running_;
  std::unique_ptr<Fio> fio_;
};

int Main(int argc, char** argv) {
  Flags flags;
  CLI::App app("How near streamed decoding comes to the rates of link and disk, and to the plan", "offload");
  app.add_option("-m,--model", flags.model)->capture_default_str();
  app.add_option("--book", flags.book)->capture_default_str();
  app.add_option("--disk", flags.disk, "folder of the disk tier")->capture_default_str();
  app.add_option("--tokens", flags.tokens, "of the prompt")->capture_default_str();
  app.add_option("--steps", flags.steps, "timed in each turn")->capture_default_str();
  app.add_option("--rounds", flags.rounds, "turns of each configuration")->capture_default_str();
  app.add_option("-t,--threads", flags.threads);
  app.add_option("--slots", flags.slots, "of the ring");
  app.add_option("--slot-size", flags.slot_bytes, "bytes of one");
  app.add_option("--trace", flags.trace, "write a Chrome trace of one configuration");
  app.add_option("--trace-of", flags.trace_of, "which; 1: the first that streams")->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  try {
    OffloadBench(flags).Run();
  } catch (const std::exception& error) {
    fmt::print(stderr, "offload: {}\n", error.what());
    return 1;
  }
  return 0;
}

}  // namespace
}  // namespace triforce

int main(int argc, char** argv) { return triforce::Main(argc, argv); }
