// triforce doctor: what stands in the way on this machine, and how fast it is. Measures the rates that the plan rests
// on and stores them.
#include <fmt/core.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "kernels/core/bytes.h"
#include "kernels/core/open_device.h"
#include "kernels/core/system_memory.h"
#include "offload/machine_checks.h"
#include "offload/measure_rates.h"
#include "offload/rates_file.h"
#include "tools/bench/timing.h"
#include "tools/command.h"
#include "tools/interrupt.h"
#include "tools/number_flags.h"
#include "tools/plan_options.h"
#include "tools/standard_streams.h"

namespace triforce {
namespace {

constexpr double kSeconds = 5;  // for the rates but the disk's

struct DoctorFlags {
  std::string disk;  // empty: not looked at
  std::string device = "cpu";
  int threads = 0;
  std::string rates;
  bool json = false;
  bool no_measure = false;
  std::string device_memory = "auto";
  std::string working_set = "auto";
};

struct RateLine {
  const char* field;
  const char* label;
  const char* unit;
  double Rates::*value;
};

constexpr RateLine kRateLines[] = {
    {"device_read_gbps", "device memory, one-row linear layers", "GB/s", &Rates::device_read_gbps},
    {"matmul_gflops", "linear layers, 512 rows", "GFLOP/s", &Rates::matmul_gflops},
    {"attention_gflops", "prefill attention, from these", "GFLOP/s", &Rates::attention_gflops},
    {"op_us", "a tiny op", "us", &Rates::op_us},
    {"link_to_device_gbps", "link, host to device", "GB/s", &Rates::link_to_device_gbps},
    {"link_to_host_gbps", "link, device to host", "GB/s", &Rates::link_to_host_gbps},
    {"link_both_gbps", "link, both ways at once, sum", "GB/s", &Rates::link_both_gbps},
    {"compute_share_copying", "compute left while copying", "of 1", &Rates::compute_share_copying},
    {"host_read_gbps", "host memory, read", "GB/s", &Rates::host_read_gbps},
    {"disk_read_gbps", "disk, read", "GB/s", &Rates::disk_read_gbps},
    {"disk_write_gbps", "disk, write", "GB/s", &Rates::disk_write_gbps},
    {"all_reduce_us", "all-reduce between two devices", "us", &Rates::all_reduce_us},
};

// What was found out.
struct Diagnosis {
  std::vector<MachineCheck> checks;
  bool disk_measured = false;
  std::string device;
  int threads = 0;
  int64_t working_set_bytes = 0;
  Rates rates;
  std::string rates_path;  // empty: nothing was measured

  bool Measured(const RateLine& line) const {
    if (line.value == &Rates::disk_read_gbps || line.value == &Rates::disk_write_gbps) return disk_measured;
    return line.value != &Rates::all_reduce_us;  // takes two devices
  }
};

std::string CheckSize(const std::string& text) {
  if (text == "auto" || ParseBytes(text).value_or(0) > 0) return "";
  return fmt::format("found \"{}\", expected a size such as 24G, 512M or auto", text);
}

// Prints `text` from column `indent` on, broken at spaces so that lines end before column 80. The cursor stands there
// already.
void PrintWrapped(const std::string& text, int indent) {
  constexpr int kColumns = 80;
  int column = indent;
  std::istringstream words(text);
  for (std::string word; words >> word;) {
    const int length = static_cast<int>(word.size());
    if (column > indent && column + 1 + length >= kColumns) {
      Print("\n{:{}}", "", indent);
      column = indent;
    }
    Print("{}{}", column > indent ? " " : "", word);
    column += length + (column > indent ? 1 : 0);
  }
  Print("\n");
}

void PrintChecks(const std::vector<MachineCheck>& checks) {
  constexpr int kIndent = 28;
  Print("Machine\n");
  for (const MachineCheck& check : checks) {
    Print("  {:17}{:9}", check.name, Name(check.verdict));
    PrintWrapped(check.found, kIndent);
    if (check.remedy.empty()) continue;
    Print("{:{}}", "", kIndent);
    PrintWrapped("-> " + check.remedy, kIndent);
  }
}

std::string Shown(double value) { return value < 10 ? fmt::format("{:.2f}", value) : fmt::format("{:.1f}", value); }

void PrintRates(const Diagnosis& diagnosis) {
  Print("\nRates of {}\n  ", diagnosis.device == "cpu" ? "the CPU as a device" : diagnosis.device);
  PrintWrapped(fmt::format("{}, {} thread{}, a working set of {}", CpuName(), diagnosis.threads,
                           diagnosis.threads == 1 ? "" : "s", FormatBytes(diagnosis.working_set_bytes)),
               2);
  Print("\n  {:38}{:>12} {:>12}\n", "", "measured", "assumed");
  const Rates assumed = AssumedRates(diagnosis.device);
  for (const RateLine& line : kRateLines) {
    const std::string measured = diagnosis.Measured(line) ? Shown(diagnosis.rates.*line.value) : "-";
    Print("  {:38}{:>12} {:>12} {}\n", line.label, measured, Shown(assumed.*line.value), line.unit);
  }
  if (!diagnosis.disk_measured) Print("\n  The disk is measured where --disk names a folder that can be written.\n");
}

nlohmann::json ToJson(const Diagnosis& diagnosis) {
  nlohmann::json out = {{"checks", nlohmann::json::array()}};
  for (const MachineCheck& check : diagnosis.checks) {
    out["checks"].push_back(
        {{"name", check.name}, {"verdict", Name(check.verdict)}, {"found", check.found}, {"remedy", check.remedy}});
  }
  if (diagnosis.rates_path.empty()) return out;
  const Rates assumed = AssumedRates(diagnosis.device);
  for (const RateLine& line : kRateLines) {
    out["rates"]["assumed"][line.field] = assumed.*line.value;
    if (diagnosis.Measured(line)) out["rates"]["measured"][line.field] = diagnosis.rates.*line.value;
  }
  out["rates"]["device"] = *DeviceName(diagnosis.device);
  out["rates"]["source"] = diagnosis.rates.source;
  out["rates"]["threads"] = diagnosis.threads;
  out["rates"]["working_set_bytes"] = diagnosis.working_set_bytes;
  out["rates"]["file"] = diagnosis.rates_path;
  return out;
}

// Less than would be best where the device has little.
int64_t WorkingSetBytes(const DoctorFlags& flags, int64_t device_bytes) {
  if (flags.working_set != "auto") return *ParseBytes(flags.working_set);
  return std::min(MeasuringBytes(flags.device), device_bytes / 4);
}

void Measure(const DoctorFlags& flags, std::stop_token stop, Diagnosis& diagnosis) {
  const int64_t device_bytes =
      flags.device_memory == "auto" ? AvailableDeviceBytes(flags.device) : *ParseBytes(flags.device_memory);
  const std::unique_ptr<Device> device = OpenDevice(flags.device, device_bytes);
  const unsigned cores = std::max(1u, std::thread::hardware_concurrency());
  diagnosis.threads = flags.threads > 0 ? flags.threads : static_cast<int>(cores);
  diagnosis.working_set_bytes = WorkingSetBytes(flags, device_bytes);
  MeasureOptions options{.threads = diagnosis.threads,
                         .working_set_bytes = diagnosis.working_set_bytes,
                         .seconds = kSeconds,
                         .assumed = AssumedRates(flags.device),
                         .between_rounds = [&] {
                           if (stop.stop_requested()) throw Interrupted{};
                         }};
  // A disk that does not work has been told of among the checks.
  diagnosis.disk_measured = !flags.disk.empty() && diagnosis.checks.back().verdict != Verdict::kProblem;
  if (diagnosis.disk_measured) options.disk_directory = flags.disk;
  const bool terminal = ::isatty(STDERR_FILENO) == 1;
  if (terminal) Say("measuring, about {:.0f} s", kSeconds + (diagnosis.disk_measured ? 3 : 1));
  diagnosis.rates = MeasureRates(*device, options);
  if (terminal) Say("\r\x1b[K");
}

int RunDoctor(const DoctorFlags& flags, std::stop_token stop) {
  Diagnosis diagnosis;
  diagnosis.device = flags.device;
  if (!flags.no_measure) {
    OutlastOutput();
    diagnosis.rates_path = flags.rates.empty() ? DefaultRatesPath() : flags.rates;
    ReadRates(diagnosis.rates_path, "");  // tells now, and not after measuring, that it is no rates file
  }
  MachineCheckOptions look;
  if (!flags.disk.empty()) look.disk_directory = flags.disk;
  diagnosis.checks = CheckMachine(look);
  if (!flags.json) PrintChecks(diagnosis.checks);
  if (!flags.no_measure) {
    Measure(flags, stop, diagnosis);
    if (!flags.json) PrintRates(diagnosis);
    WriteRates(diagnosis.rates_path, *DeviceName(flags.device), diagnosis.rates);
    if (!flags.json) Print("\nStored in {}\n", diagnosis.rates_path);
  }
  if (flags.json) {
    Print("{}\n", ToJson(diagnosis).dump(2, ' ', false, nlohmann::json::error_handler_t::replace));
  }
  return 0;
}

}  // namespace

RunCommand AddDoctorCommand(CLI::App& app) {
  const auto flags = std::make_shared<DoctorFlags>();  // shared: the options write to it, the command reads it
  CLI::App& command = *app.add_subcommand("doctor", "Look at this machine, measure it for the plan, store the rates");
  command.add_option("--disk", flags->disk, "folder on the disk for KV: looked at and measured")->type_name("DIR");
  command.add_option("--device", flags->device, "what is measured: cpu, cuda (the first GPU) or cuda:N")
      ->check(CheckDevice, "DEVICE")
      ->capture_default_str();
  command.add_option("-t,--threads", flags->threads, "threads; default: one per core")
      ->transform(WholeNumber(0, kMostThreads));
  command.add_option("--rates", flags->rates, "where to store; default: ~/.config/triforce/rates.json")
      ->type_name("FILE");
  command.add_flag("--no-measure", flags->no_measure, "only look; nothing is stored");
  command.add_flag("--json", flags->json, "as a JSON object");
  command.add_option("--device-memory", flags->device_memory, "most memory to use (24G, 512M), or auto")
      ->check(CheckSize, "SIZE")
      ->capture_default_str();
  command.add_option("--working-set", flags->working_set, "bytes that reads and copies go through, or auto")
      ->check(CheckSize, "SIZE")
      ->capture_default_str();
  return [flags](std::stop_token stop) { return RunDoctor(*flags, stop); };
}

}  // namespace triforce
