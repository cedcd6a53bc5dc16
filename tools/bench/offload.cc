// bazel run -c opt //tools/bench:offload: how near streamed decoding comes to the link's and the disk's rate, and to
// what the plan predicts. One prefill is shared by all configurations; they take turns, and all ratios are of one run.
//
// On a GPU (--device) the link is the real one, and there is no disk; --shape takes a model of real shape with random
// weights, --rows passes of so many rows, as verify passes have.
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

#include "kernels/core/error.h"
#include "kernels/core/lane.h"
#include "kernels/core/open_device.h"
#include "kernels/core/trace.h"
#include "models/json_file.h"
#include "models/output_file.h"
#include "models/tokenizer.h"
#include "offload/measure_rates.h"
#include "offload/rates_file.h"
#include "runtime/engine.h"
#include "runtime/random_weights.h"
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
  std::string device = "cpu";
  std::string shape;  // with random weights and ids, instead of model and book
  std::string json;
  std::string rates;  // of doctor; empty: measured here, between turns
  int64_t rows = 1;   // of a pass
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
    const bool cpu = OnCpu();
    if (!flags_.shape.empty()) fmt::print("{}\n", kRandomWeightsLabel);
    MeasureMachine();
    Prefill();
    for (Configuration& configuration : Configurations()) Start(std::move(configuration));
    if (cpu) fio_ = std::make_unique<Fio>(flags_.disk, running_.back().engine->plan().ring.slot_bytes);
    for (int round = 0; round < flags_.rounds; ++round) {
      for (Running& running : running_) Turn(running);
      if (cpu) fio_->Turn();
      MeasureMachine();
    }
    Print();
    if (!flags_.json.empty()) WriteJson();
    if (trace_ == nullptr) return;
    trace_->Write(flags_.trace);
    fmt::print("{}, last turn: the copy lane is busy {:.1f} % of the time from the first slot to the last\n",
               running_.at(flags_.trace_of).configuration.name, 100 * CopyLaneBusy(flags_.trace));
  }

 private:
  bool OnCpu() const { return flags_.device == "cpu"; }

  // The machine takes its turns too: others share it, and its speed changes while all this runs.
  void MeasureMachine() {
    if (!flags_.rates.empty()) {
      const std::optional<Rates> rates = ReadRates(flags_.rates, flags_.device);
      if (!rates) throw Error(ErrorKind::kIo, flags_.rates, "has no rates of the device " + flags_.device);
      rates_ = *rates;
      return;
    }
    const std::unique_ptr<Device> device = OpenDevice(flags_.device, 8 * kGiB);
    MeasureOptions options{.threads = threads_,
                           .working_set_bytes = MeasuringBytes(flags_.device),
                           .seconds = 2,
                           .assumed = AssumedRates(flags_.device)};
    if (OnCpu()) options.disk_directory = flags_.disk;
    measured_.push_back(MeasureRates(*device, options));
    rates_ = MedianRates(measured_);
  }

  EngineOptions Options(const Configuration& configuration) const {
    const bool random = !flags_.shape.empty();
    EngineOptions options{.model_directory = random ? "" : flags_.model,
                          .random_model = flags_.shape,
                          .device = flags_.device,
                          .plan = {.context_tokens = flags_.tokens + kPredict + Steps(),
                                   .predict_tokens = kPredict + Steps(),
                                   .device_bytes = OnCpu() ? 2 * kGiB : 0,
                                   .host_bytes = OnCpu() ? kGiB : 0,
                                   .disk_bytes = configuration.disk_bytes,
                                   .rates = rates_,
                                   .link_gbps = configuration.link_gbps,
                                   .options = configuration.options},
                          .threads = threads_,
                          .disk_directory = flags_.disk};
    if (flags_.rows > 1) options.plan.options.gamma = flags_.rows - 1;
    if (flags_.slots > 0) options.plan.options.slots = flags_.slots;
    if (flags_.slot_bytes > 0) options.plan.options.slot_bytes = flags_.slot_bytes;
    return options;
  }
  int64_t Steps() const { return flags_.rounds * (flags_.steps + kWarmupSteps) + 50 + flags_.rows; }

  std::vector<TokenId> Prompt(const ModelConfig& config) const {
    if (!flags_.shape.empty()) return RandomIds(flags_.tokens, config);
    const Tokenizer tokenizer(flags_.model, config);
    std::vector<TokenId> tokens = tokenizer.Encode(ReadFile(flags_.book, 1 << 30), flags_.book);
    if (static_cast<int64_t>(tokens.size()) < flags_.tokens) {
      throw Error(ErrorKind::kInvalidInput, flags_.book, fmt::format("has {} tokens", tokens.size()));
    }
    tokens.resize(flags_.tokens);
    return tokens;
  }

  void Prefill() {
    const Configuration resident{.name = "all resident"};
    Start(resident, /*copy=*/false);
    Running& first = running_.front();
    const std::vector<TokenId> tokens = Prompt(first.engine->config());
    const auto begin = std::chrono::steady_clock::now();
    first.session->Append(tokens);
    first.engine->lane().Synchronize();
    prefill_ms_ = Milliseconds(begin);
    // A copy of its own, so that all start alike.
    original_ = std::move(running_.front());
    running_.clear();
    if (!OnCpu()) return;  // a GPU may not have the room for the weights once more
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
    if (!OnCpu()) {
      return {{"KV streamed", kv, 0, 0, Limit::kLink}, {"KV and weights streamed", both, 0, 0, Limit::kLink}};
    }
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
    if (copy && static_cast<int64_t>(running_.size()) + (OnCpu() ? 0 : 1) == flags_.trace_of)
      options.trace = trace_.get();
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
      const std::vector<TokenId> tokens(running.session->tokens().begin() + 10 + i,
                                        running.session->tokens().begin() + 10 + i + flags_.rows);
      const auto begin = std::chrono::steady_clock::now();
      if (flags_.rows == 1) {
        running.session->Append(tokens);
      } else {
        running.session->Verify(tokens, flags_.rows);
      }
      running.engine->lane().Synchronize();
      if (i >= kWarmupSteps) running.step_ms.push_back(Milliseconds(begin));
      if (flags_.rows > 1) running.session->Rewind(std::ssize(running.session->tokens()) - flags_.rows);
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
      const double planned_ms = PlannedMs(plan);
      const double ms = running.median_ms(), mb = static_cast<double>(plan.StreamedBytesPerPass()) * 1e-6;
      std::string ratio = "-";
      if (running.configuration.limit == Configuration::Limit::kLink) {
        ratio = fmt::format("{:.3f}", ms / (mb / LinkGbps(running)));
      } else if (running.configuration.limit == Configuration::Limit::kDisk) {
        const double gbps = static_cast<double>(plan.DiskBytesPerPass()) / ms * 1e-6;
        if (fio_->gbps()) ratio = fmt::format("{:.2f} d", gbps / *fio_->gbps());
      }
      fmt::print("{:46} {:8.1f} {:9.3f} {:>6} {:8.3f} {:7.3f}\n", running.configuration.name, mb, ms, ratio, planned_ms,
                 ms / planned_ms);
    }
    fmt::print("ratio: to bytes / link rate, wanted at most {}\n", OnCpu() ? "1.08" : "1.053 (95 % of the rate)");
    if (fio_ == nullptr) return;
    if (fio_->gbps()) {
      fmt::print("d: of fio's {:.2f} GB/s, direct, in blocks of a slot, wanted at least 0.85\n", *fio_->gbps());
    } else {
      fmt::print("the disk's share is left out: fio is not installed\n");
    }
  }

  double PlannedMs(const Plan& plan) const {
    const PlanTimes times = Predicted(plan);
    return flags_.rows == 1 ? times.decode_ms : times.verify_ms;
  }
  // The rate that its transfers are held to, or the link's own.
  double LinkGbps(const Running& running) const {
    return running.configuration.link_gbps > 0 ? running.configuration.link_gbps : rates_.link_to_device_gbps;
  }

  void WriteJson() const {
    nlohmann::json json = {{"device", flags_.device},
                           {"model", flags_.shape.empty() ? flags_.model : flags_.shape},
                           {"labels", nlohmann::json::array()},
                           {"tokens", flags_.tokens},
                           {"rows", flags_.rows},
                           {"link_to_device_gbps", rates_.link_to_device_gbps},
                           {"device_read_gbps", rates_.device_read_gbps},
                           {"prefill_ms", prefill_ms_},
                           {"prefill_planned_ms", Predicted(original_.engine->plan()).prefill_ms},
                           {"passes", nlohmann::json::array()}};
    if (!flags_.shape.empty()) json["labels"].push_back(kRandomWeightsLabel);
    for (const Running& running : running_) {
      const Plan& plan = running.engine->plan();
      const double ms = running.median_ms(), bytes = static_cast<double>(plan.StreamedBytesPerPass());
      json["passes"].push_back({{"name", running.configuration.name},
                                {"streamed_bytes", plan.StreamedBytesPerPass()},
                                {"ms", ms},
                                {"planned_ms", PlannedMs(plan)},
                                {"share_of_link", bytes / (LinkGbps(running) * 1e6) / ms}});
    }
    OutputFile file(flags_.json);
    file.Write(json.dump(2) + "\n");
    file.Commit();
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
  app.add_option("--device", flags.device, "cpu, or cuda:0")->capture_default_str();
  app.add_option("--shape", flags.shape, "a known shape, with random weights, instead of model and book");
  app.add_option("--rows", flags.rows, "of a pass")->check(CLI::Range(1, 64))->capture_default_str();
  app.add_option("--rates", flags.rates, "of triforce doctor; default: measured, in turns with the rest");
  app.add_option("--json", flags.json, "write the figures as a JSON object");
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
