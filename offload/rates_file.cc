#include "offload/rates_file.h"

#include <fmt/core.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "kernels/core/error.h"

namespace triforce {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kMaxFileBytes = int64_t{1} << 20;
constexpr char kRemedy[] = "Delete the file and run triforce doctor, which measures and writes it anew.";

struct RateField {
  const char* name;
  double Rates::*value;
  double max = kMostRate;
};

constexpr RateField kFields[] = {
    {"device_read_gbps", &Rates::device_read_gbps},       {"matmul_gflops", &Rates::matmul_gflops},
    {"attention_gflops", &Rates::attention_gflops},       {"op_us", &Rates::op_us},
    {"link_to_device_gbps", &Rates::link_to_device_gbps}, {"link_to_host_gbps", &Rates::link_to_host_gbps},
    {"link_both_gbps", &Rates::link_both_gbps},           {"compute_share_copying", &Rates::compute_share_copying, 1},
    {"host_read_gbps", &Rates::host_read_gbps},           {"disk_read_gbps", &Rates::disk_read_gbps},
    {"disk_write_gbps", &Rates::disk_write_gbps},         {"all_reduce_us", &Rates::all_reduce_us},
};

[[noreturn]] void FailIo(const std::string& path, const std::string& what) {
  throw Error(ErrorKind::kIo, path, fmt::format("{}: {}", what, std::strerror(errno)));
}

[[noreturn]] void FailInput(const std::string& where, const std::string& what) {
  throw Error(ErrorKind::kInvalidInput, where, what, kRemedy);
}

// The object that the file holds; null where there is no file.
nlohmann::json ReadObject(const std::string& path) {
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  if (status.type() == fs::file_type::not_found) return nullptr;
  if (fs::is_directory(status)) {
    errno = EISDIR;
    FailIo(path, "cannot be read");
  }
  // Opening a pipe waits for whoever writes to it, perhaps for ever.
  if (fs::exists(status) && !fs::is_regular_file(status)) {
    throw Error(ErrorKind::kIo, path, "is a pipe or a device, expected a file", kRemedy);
  }
  std::ifstream file(path, std::ios::binary);
  if (!file) FailIo(path, "cannot be read");
  std::string text(kMaxFileBytes + 1, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (file.bad()) FailIo(path, "cannot be read");
  text.resize(file.gcount());
  if (static_cast<int64_t>(text.size()) > kMaxFileBytes) {
    FailInput(path, fmt::format("found more than {} bytes, expected a small JSON object", kMaxFileBytes));
  }
  try {
    nlohmann::json json = nlohmann::json::parse(text);
    if (!json.is_object()) FailInput(path, fmt::format("found a JSON {}, expected an object", json.type_name()));
    return json;
  } catch (const nlohmann::json::exception& exception) {
    FailInput(path, fmt::format("is not JSON: {}", exception.what()));
  }
}

std::string Shown(const nlohmann::json& value) {
  constexpr size_t kMostShown = 40;
  std::string text = value.dump(-1, ' ', /*ensure_ascii=*/true, nlohmann::json::error_handler_t::replace);
  if (text.size() > kMostShown) text = text.substr(0, kMostShown) + "...";
  return text;
}

double Rate(const std::string& where, const nlohmann::json& entry, const RateField& field) {
  const std::string place = fmt::format("{}.{}", where, field.name);
  const std::string expected = fmt::format("expected a number from {:g} to {:g}", kLeastRate, field.max);
  const auto found = entry.find(field.name);
  if (found == entry.end()) FailInput(place, "is missing, " + expected);
  const double value = found->is_number() ? found->get<double>() : -1;
  if (!(value >= kLeastRate && value <= field.max))
    FailInput(place, fmt::format("found {}, {}", Shown(*found), expected));
  return value;
}

// Writes beside the file and renames, so that no reader sees half of it.
void ReplaceFile(const std::string& path, const std::string& text) {
  std::error_code error;
  const fs::path resolved = fs::is_symlink(path, error) ? fs::weakly_canonical(path, error) : fs::path(path);
  const std::string target = error || resolved.empty() ? path : resolved.string();
  if (const fs::path folder = fs::path(target).parent_path(); !folder.empty()) {
    fs::create_directories(folder, error);
    if (error) throw Error(ErrorKind::kIo, folder.string(), "cannot be made: " + error.message());
  }
  const std::string temporary = fmt::format("{}.{}.tmp", target, ::getpid());
  std::ofstream file(temporary, std::ios::binary | std::ios::trunc);
  file << text;
  file.close();
  if (!file || std::rename(temporary.c_str(), target.c_str()) != 0) {
    const int reason = errno;
    ::unlink(temporary.c_str());
    errno = reason;
    FailIo(path, "cannot be written");
  }
}

}  // namespace

std::string DefaultRatesPath() {
  // The XDG base directory specification: a path that is not absolute counts as none.
  const char* const config = std::getenv("XDG_CONFIG_HOME");
  if (config != nullptr && config[0] == '/') return std::string(config) + "/triforce/rates.json";
  const char* const home = std::getenv("HOME");
  if (home != nullptr && home[0] != '\0') return std::string(home) + "/.config/triforce/rates.json";
  throw Error(ErrorKind::kUsage, "rates file", "neither XDG_CONFIG_HOME nor HOME says where it lies",
              "Give a path with --rates.");
}

std::optional<Rates> ReadRates(const std::string& path, const std::string& device_name) {
  const nlohmann::json file = ReadObject(path);
  if (!file.contains(device_name)) return std::nullopt;
  const nlohmann::json& entry = file[device_name];
  const std::string where = fmt::format("{}: {}", path, device_name);
  if (!entry.is_object()) FailInput(where, fmt::format("found {}, expected an object", Shown(entry)));
  Rates rates;
  for (const RateField& field : kFields) rates.*field.value = Rate(where, entry, field);
  const auto source = entry.find("source");
  if (source == entry.end() || !source->is_string()) {
    FailInput(where + ".source",
              fmt::format("found {}, expected a text", source == entry.end() ? "nothing" : Shown(*source)));
  }
  rates.source = source->get<std::string>();
  return rates;
}

void WriteRates(const std::string& path, const std::string& device_name, const Rates& rates) {
  nlohmann::json file = ReadObject(path);
  if (file.is_null()) file = nlohmann::json::object();
  nlohmann::json entry = nlohmann::json::object();
  for (const RateField& field : kFields) entry[field.name] = rates.*field.value;
  entry["source"] = rates.source;
  file[device_name] = std::move(entry);
  ReplaceFile(path, file.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
}

}  // namespace triforce
