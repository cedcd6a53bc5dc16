#include "tools/bench_conditions.h"

#include <fmt/chrono.h>
#include <fmt/core.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <ctime>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "kernels/core/error.h"
#include "kernels/core/open_device.h"
#include "kernels/core/system_memory.h"
#include "offload/measure_rates.h"
#include "offload/rates_file.h"
#include "tools/bench/timing.h"
#include "tools/interrupt.h"
#include "tools/number_flags.h"
#include "tools/standard_streams.h"

namespace triforce {
namespace {

constexpr uint64_t kDefaultSeed = 1;
constexpr double kMeasureSeconds = 5;

int Threads(const BenchConditionFlags& flags) {
  return flags.model.threads > 0 ? flags.model.threads
                                 : static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
}

Rates RatesOfMachine(const BenchConditionFlags& flags, std::stop_token stop) {
  if (!flags.model.plan.rates.empty()) {
    const std::optional<Rates> rates = ReadRates(flags.model.plan.rates, *DeviceName(flags.model.device));
    if (rates) return *rates;
    throw Error(ErrorKind::kIo, flags.model.plan.rates,
                fmt::format("has no rates of the device \"{}\"", flags.model.device),
                "Without --rates they are measured.");
  }
  const int64_t device_bytes = AvailableDeviceBytes(flags.model.device);
  const std::unique_ptr<Device> device = OpenDevice(flags.model.device, device_bytes);
  MeasureOptions options{.threads = Threads(flags),
                         .working_set_bytes = std::min(MeasuringBytes(flags.model.device), device_bytes / 8),
                         .seconds = kMeasureSeconds,
                         .assumed = AssumedRates(flags.model.device),
                         .between_rounds = [&] {
                           if (stop.stop_requested()) throw Interrupted{};
                         }};
  if (!flags.model.plan.disk.empty()) options.disk_directory = flags.model.plan.disk;
  const bool terminal = ::isatty(STDERR_FILENO) == 1;
  if (terminal) Say("measuring the machine, about {:.0f} s", kMeasureSeconds + 1);
  const Rates rates = MeasureRates(*device, options);
  if (terminal) Say("\r\x1b[K");
  return rates;
}

// As it was typed, more or less.
std::string CommandLine() {
  std::ifstream file("/proc/self/cmdline", std::ios::binary);
  const std::string all((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  std::string line;
  for (size_t begin = 0; begin < all.size();) {
    const size_t end = std::min(all.find('\0', begin), all.size());
    const std::string argument = all.substr(begin, end - begin);
    const bool quoted = argument.empty() || argument.find_first_of(" \t\"'$&|;<>()*?") != std::string::npos;
    line += (line.empty() ? "" : " ") + (quoted ? "'" + argument + "'" : argument);
    begin = end + 1;
  }
  return line;
}

std::string Filter(const SamplingOptions& sampling) {
  const SamplingFilter& f = sampling.filter;
  return fmt::format("temperature {:g}, top-k {}, top-p {:g}, min-p {:g}", f.temperature, f.top_k, f.top_p, f.min_p);
}

std::string Memory(const BenchConditionFlags& flags) {
  const PlanFlags& plan = flags.model.plan;
  std::string text = fmt::format("device {}, host {}", flags.model.device_memory, plan.host_memory);
  const auto add = [&](const char* name, const std::string& size) {
    if (!size.empty()) text += fmt::format(", {} {}", name, size);
  };
  add("resident weights", plan.resident_weights);
  add("resident KV", plan.resident_kv);
  add("host weights", plan.host_weights);
  add("host KV", plan.host_kv);
  add("disk", plan.disk);
  return text + "; plain resident: no limit";
}

}  // namespace

void AddConditionFlags(CLI::App& app, BenchConditionFlags& f) {
  AddModelFlags(app, f.model);
  AddRandomModelFlags(app, f.model);
  AddSpeculationFlags(app, f.speculation);
  AddSamplingFlags(app, f.sampling);
  // What bench decides itself.
  for (const char* flag : {"--ctx-size", "--trace", "--spec", "--middle"}) app.remove_option(app.get_option(flag));
  app.get_option("--seed")->description(
      fmt::format("the first of the random numbers' seeds; default: {}", kDefaultSeed));
  app.get_option("--rates")->description("rates as triforce doctor has measured them; default: measured now");
  app.add_option("--batch", f.batch, "sequences of a run, side by side: as many continuations of its prompt")
      ->transform(WholeNumber(1, 1 << 16))
      ->capture_default_str();
  app.add_option("-n,--predict", f.predict, "tokens to generate in each run, whatever they are")
      ->transform(TokenCount(2, int64_t{1} << 30))
      ->capture_default_str();
  app.add_option("--link-ratio", f.link_ratio, "throttle transfers to the device to its measured read rate over this")
      ->transform(Number(1e-6, 1e6));
}

SamplingOptions SamplingOf(const BenchConditionFlags& flags, const ModelConfig& config) {
  SamplingFlags sampling = flags.sampling;
  if (!sampling.seed) sampling.seed = kDefaultSeed;
  return MakeSamplingOptions(sampling, flags.model.model, config);
}

BenchConditions MakeConditions(const BenchConditionFlags& flags, std::stop_token stop) {
  if (!std::isfinite(flags.link_ratio)) {
    throw Error(ErrorKind::kUsage, "--link-ratio",
                fmt::format("found {}, expected a number above 0", flags.link_ratio));
  }
  if (flags.link_ratio > 0 && flags.model.plan.link_gbps > 0) {
    throw Error(ErrorKind::kUsage, "--link-ratio", "contradicts --link-gbps", "Give one of them.");
  }
  BenchConditions conditions{.model = flags.model,
                             .speculation = flags.speculation,
                             .rates = RatesOfMachine(flags, std::move(stop)),
                             .link_gbps = flags.model.plan.link_gbps,
                             .predict = flags.predict,
                             .batch = flags.batch};
  if (flags.link_ratio > 0) conditions.link_gbps = conditions.rates.device_read_gbps / flags.link_ratio;
  return conditions;
}

std::vector<std::string> LabelsOf(const BenchConditionFlags& flags, const BenchConditions& conditions) {
  ModelOptions model = flags.model;
  model.plan.link_gbps = conditions.link_gbps;  // by --link-ratio perhaps
  return LabelsOf(model);
}

BenchHeader DescribeConditions(const BenchConditionFlags& flags, const BenchConditions& conditions,
                               const BenchMatrix& matrix) {
  const Rates& rates = conditions.rates;
  BenchHeader header{.machine = fmt::format("{}, {} threads", CpuName(), Threads(flags)),
                     .command = CommandLine(),
                     .date = fmt::format("{:%Y-%m-%d %H:%M}", fmt::localtime(std::time(nullptr))),
                     .model = SourceOf(flags.model).name(),
                     .draft = DraftOf(flags.speculation).name(),
                     .settings = {}};
  const auto add = [&](const char* name, const std::string& value) { header.settings.emplace_back(name, value); };
  std::vector<std::string> names;
  for (const BenchText& text : matrix.texts) names.push_back(text.name);
  add("draft model", header.draft.empty() ? "none" : header.draft);
  add("prompts", fmt::format("{}", fmt::join(names, ", ")));
  add("prompt tokens", fmt::format("{}", fmt::join(matrix.contexts, ", ")));
  add("runs", fmt::format("{} tokens each; seeds from {} on: {}; repeats: {}; warm-ups of 16 tokens: {}", flags.predict,
                          matrix.sampling.seed, matrix.seeds, matrix.repeats, matrix.warmup));
  add("sampling", Filter(matrix.sampling));
  add("memory", Memory(flags));
  add("link", conditions.link_gbps > 0
                  ? fmt::format("throttled to {:.3f} GB/s, 1/{:.1f} of device memory's rate", conditions.link_gbps,
                                rates.device_read_gbps / conditions.link_gbps)
                  : fmt::format("{:.1f} GB/s, not throttled", rates.link_to_device_gbps));
  add("rates", fmt::format("device memory {:.1f} GB/s, link {:.1f} GB/s; {}", rates.device_read_gbps,
                           rates.link_to_device_gbps, rates.source));
  std::vector<int64_t> chunks;
  for (const int64_t context : matrix.contexts) {
    chunks.push_back(ChunkTokensOfAll(conditions, matrix.configurations, context));
  }
  add("KV", fmt::format("{}, chunks of {} tokens", flags.model.kv_type, fmt::join(chunks, ", ")));
  add("budget",
      flags.speculation.budget ? fmt::format("{} tokens", *flags.speculation.budget) : "a tenth of the prompt");
  return header;
}

}  // namespace triforce
