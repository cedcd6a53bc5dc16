#include "tools/plan_options.h"

#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <system_error>

#include "kernels/core/bytes.h"
#include "kernels/core/error.h"
#include "kernels/core/open_device.h"
#include "offload/default_memory.h"
#include "offload/rates_file.h"
#include "tools/number_flags.h"
#include "tools/standard_streams.h"

namespace triforce {
namespace {

// What a 24 GiB card has for us: the driver and a desktop keep some.
constexpr int64_t kRtx4090Bytes = (int64_t{24} << 30) - (int64_t{512} << 20);
constexpr int64_t kAssumedHostBytes = int64_t{128} << 30;

std::string CheckSize(const std::string& text) {
  if (ParseBytes(text)) return "";
  return fmt::format("found \"{}\", expected a size such as 24G, 512M or 0, at most 1024T", text);
}

std::optional<int64_t> SizeOf(const std::string& text) {
  return text.empty() || text == "auto" ? std::nullopt : ParseBytes(text);
}

// What doctor has measured, from its own file: a cache, which nobody has asked for. Where it cannot be read, that is
// said, once, and the plan goes on without.
std::optional<Rates> KeptRates(const std::string& name) {
  try {
    return ReadRates(DefaultRatesPath(), name);
  } catch (const Error& error) {
    static bool said = error.kind() == ErrorKind::kUsage;  // the environment names no place for such a file
    if (!said) Say("{}\n  Rates are assumed instead.\n", error.what());
    said = true;
    return std::nullopt;
  }
}

// What the file holds that is named, which then has to have them; else kept ones, or assumed ones.
Rates RatesFor(const PlanFlags& flags, const std::string& device) {
  const std::string name = DeviceName(device).value_or(device);
  if (flags.rates.empty()) return KeptRates(name).value_or(AssumedRates(device));
  const std::optional<Rates> rates = ReadRates(flags.rates, name);
  if (!rates) {
    throw Error(ErrorKind::kIo, flags.rates, fmt::format("has no rates of the device \"{}\"", device),
                fmt::format("triforce doctor --device {} --rates FILE measures them.", device));
  }
  return *rates;
}

int64_t FreeDiskBytes(const std::string& directory) {
  std::error_code error;
  const std::filesystem::space_info space = std::filesystem::space(directory, error);
  if (error) throw Error(ErrorKind::kIo, directory, error.message(), "Give a folder on a fast disk with --disk.");
  const auto most = static_cast<std::uintmax_t>(kMostSizeBytes);  // some file systems claim to have no end
  // A full disk is one still: what then does not fit is short of disk memory, and has not been without a disk.
  return std::max<int64_t>(1, DefaultShare(static_cast<int64_t>(std::min(space.available, most))));
}

}  // namespace

std::string CheckDevice(const std::string& text) {
  return DeviceName(text) ? "" : fmt::format("found \"{}\", expected cpu, cuda or cuda:N", text);
}

std::string CheckLinkRate(const std::string& text) {
  const double rate = std::strtod(text.c_str(), nullptr);  // a number, by then
  if (rate == 0 || rate >= kLeastRate) return "";
  return fmt::format("found \"{}\", expected 0, or a rate from {:g} to {:g}", text, kLeastRate, kMostRate);
}

std::string CheckSizeOrAuto(const std::string& text) {
  if (text == "auto" || ParseBytes(text).value_or(0) > 0) return "";
  return fmt::format("found \"{}\", expected a size such as 24G, 512M or auto, at most 1024T", text);
}

void AddPlanFlags(CLI::App& app, PlanFlags& f) {
  app.add_option("--host-memory", f.host_memory, "most host memory for what the device cannot hold, or auto")
      ->check(CheckSizeOrAuto, "SIZE")
      ->capture_default_str();
  app.add_option("--disk", f.disk, "folder for what host memory cannot hold; default: no disk is used")
      ->type_name("DIR");
  app.add_option("--disk-memory", f.disk_memory, "most bytes on disk, or auto")
      ->check(CheckSizeOrAuto, "SIZE")
      ->capture_default_str();
  app.add_option("--link-gbps", f.link_gbps, "throttle transfers to the device, 10^9 bytes/s; 0: not")
      ->transform(Number(0, kMostRate))
      ->check(CheckLinkRate, "");
  const auto size = [&](const char* name, std::string& value, const char* help) {
    app.add_option(name, value, help)->check(CheckSize, "SIZE");
  };
  size("--resident-weights", f.resident_weights, "most of the layers' weights to keep on the device");
  size("--resident-kv", f.resident_kv, "most of the prompt's KV to keep on the device");
  size("--host-weights", f.host_weights, "most of the streamed weights to keep off the disk");
  size("--host-kv", f.host_kv, "most of the streamed KV to keep off the disk");
  size("--pinned-memory", f.pinned_memory,
       "most host memory to lock; where more streams, it passes through locked slots");
  app.add_option("--slots", f.slots, "slots of the ring that streamed bytes go round")
      ->transform(WholeNumber(2, int64_t{1} << 20));
  size("--slot-size", f.slot_size, "size of a slot");
  app.add_flag("--huge-pages", f.huge_pages, "take reserved huge pages for host memory where there are any");
  app.add_option("--numa-node", f.numa_node, "NUMA node of host memory")->transform(WholeNumber(0, 1023));
  app.add_option("--rates", f.rates, "rates as triforce doctor has measured them; default: its own file")
      ->type_name("FILE");
}

PlanInput MakePlanInput(const PlanFlags& flags, const PlanSubject& subject) {
  const bool absent = subject.device == "rtx4090";
  PlanInput input{.shape = subject.shape,
                  .kv_type = subject.kv_type,
                  .context_tokens = subject.context_tokens,
                  .predict_tokens = subject.predict_tokens,
                  .cpu_device = subject.device == "cpu",
                  .rates = RatesFor(flags, subject.device),
                  .link_gbps = flags.link_gbps};
  input.device_bytes = SizeOf(subject.device_memory).value_or(absent ? kRtx4090Bytes : 0);
  input.host_bytes = SizeOf(flags.host_memory).value_or(absent ? kAssumedHostBytes : 0);
  if (!absent) CompleteMemory(subject.device, input);
  if (!flags.disk.empty()) input.disk_bytes = SizeOf(flags.disk_memory).value_or(FreeDiskBytes(flags.disk));
  input.options.resident_weight_bytes = SizeOf(flags.resident_weights);
  input.options.resident_kv_bytes = SizeOf(flags.resident_kv);
  input.options.host_weight_bytes = SizeOf(flags.host_weights);
  input.options.host_kv_bytes = SizeOf(flags.host_kv);
  input.options.pinned_bytes = SizeOf(flags.pinned_memory);
  input.options.slots = flags.slots;
  input.options.slot_bytes = SizeOf(flags.slot_size);
  return input;
}

}  // namespace triforce
