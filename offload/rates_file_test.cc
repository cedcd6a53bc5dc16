#include "offload/rates_file.h"

#include <doctest/doctest.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "kernels/core/error.h"

namespace triforce {
namespace {

namespace fs = std::filesystem;

// A folder of a test's own, empty at first.
std::string Folder(const std::string& name) {
  const char* const base = std::getenv("TEST_TMPDIR");
  const fs::path path = fs::path(base != nullptr ? base : "/tmp") / ("rates_file_test_" + name);
  fs::remove_all(path);
  fs::create_directories(path);
  return path.string();
}

std::string Write(const std::string& path, const std::string& text) {
  std::ofstream(path) << text;
  return path;
}

std::string Read(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

template <typename Action>
void CheckFails(const Action& action, ErrorKind kind, const std::vector<std::string>& parts) {
  try {
    action();
    FAIL("no error");
  } catch (const Error& error) {
    CHECK(error.kind() == kind);
    for (const std::string& part : parts) {
      CAPTURE(part);
      CHECK_MESSAGE(std::string(error.what()).find(part) != std::string::npos, error.what());
    }
  }
}

nlohmann::json Entry() {
  const std::string path = Folder("entry") + "/rates.json";
  WriteRates(path, "cpu", AssumedCpuRates());
  return nlohmann::json::parse(Read(path))["cpu"];
}

TEST_CASE("what is written is what is read, to the last bit, device by device") {
  const std::string path = Folder("round_trip") + "/some/new/folder/rates.json";
  Rates cpu = AssumedCpuRates();
  cpu.op_us = 1.0 / 3;
  cpu.source = "measured 2026-11-23";
  WriteRates(path, "cpu", cpu);
  CHECK(ReadRates(path, "cpu") == cpu);
  CHECK_FALSE(ReadRates(path, "cuda:0").has_value());
  WriteRates(path, "cuda:0", AssumedRtx4090Rates());
  CHECK(ReadRates(path, "cpu") == cpu);
  CHECK(ReadRates(path, "cuda:0") == AssumedRtx4090Rates());
  cpu.op_us = 7;
  WriteRates(path, "cpu", cpu);
  CHECK(ReadRates(path, "cpu") == cpu);
}

TEST_CASE("every rate has a field of its own") {
  nlohmann::json entry = Entry();
  CHECK(entry.size() == 13);
  const std::string folder = Folder("fields");
  for (const auto& [name, value] : entry.items()) {
    if (name == "source") continue;
    CAPTURE(name);
    nlohmann::json changed = entry;
    changed[name] = 0.125;
    const auto rates = ReadRates(Write(folder + "/rates.json", nlohmann::json{{"cpu", changed}}.dump()), "cpu");
    REQUIRE(rates.has_value());
    CHECK_FALSE(*rates == AssumedCpuRates());
  }
}

TEST_CASE("no file, no rates") { CHECK_FALSE(ReadRates(Folder("none") + "/rates.json", "cpu").has_value()); }

TEST_CASE("other entries stay, whatever is in them") {
  const std::string path = Write(Folder("others") + "/rates.json", R"({"cuda:7": {"from": "tomorrow"}})");
  WriteRates(path, "cpu", AssumedCpuRates());
  CHECK(nlohmann::json::parse(Read(path))["cuda:7"]["from"] == "tomorrow");
  CHECK(ReadRates(path, "cpu") == AssumedCpuRates());
}

TEST_CASE("rates that are no rates are errors that name file, device and field") {
  const std::string folder = Folder("hostile");
  for (const char* value :
       {"\"fast\"", "null", "true", "[]", "{}", "0", "-0.0", "-1", "1e300", "2e9", "1e-300", "1e-7"}) {
    for (const char* field : {"device_read_gbps", "all_reduce_us", "compute_share_copying"}) {
      CAPTURE(value);
      nlohmann::json entry = Entry();
      entry[field] = nlohmann::json::parse(value);
      const std::string path = Write(folder + "/rates.json", nlohmann::json{{"cpu", entry}}.dump());
      CheckFails([&] { ReadRates(path, "cpu"); }, ErrorKind::kInvalidInput,
                 {path, std::string("cpu.") + field, "expected a number from 1e-06", "triforce doctor"});
    }
  }
  nlohmann::json entry = Entry();
  entry["compute_share_copying"] = 1.5;
  std::string path = Write(folder + "/rates.json", nlohmann::json{{"cpu", entry}}.dump());
  CheckFails([&] { ReadRates(path, "cpu"); }, ErrorKind::kInvalidInput, {"cpu.compute_share_copying", "1.5"});
  entry = Entry();
  entry.erase("op_us");
  path = Write(folder + "/rates.json", nlohmann::json{{"cpu", entry}}.dump());
  CheckFails([&] { ReadRates(path, "cpu"); }, ErrorKind::kInvalidInput, {"cpu.op_us", "missing"});
  entry = Entry();
  entry["source"] = 3;
  path = Write(folder + "/rates.json", nlohmann::json{{"cpu", entry}}.dump());
  CheckFails([&] { ReadRates(path, "cpu"); }, ErrorKind::kInvalidInput, {"cpu.source", "3"});
}

TEST_CASE("files that are no JSON object are errors, and are not written over") {
  const std::string path = Folder("broken") + "/rates.json";
  const std::string deep(100'000, '[');
  for (const std::string& text : {std::string(), std::string("{\"cpu\": {\"op_us\": 1e999}}"), std::string("[1]"),
                                  std::string("{\"cpu\""), std::string("\xff\xfe"), deep, std::string(2 << 20, ' ')}) {
    CAPTURE(text.substr(0, 40));
    Write(path, text);
    CheckFails([&] { ReadRates(path, "cpu"); }, ErrorKind::kInvalidInput, {path, "Delete the file"});
    CheckFails([&] { WriteRates(path, "cpu", AssumedCpuRates()); }, ErrorKind::kInvalidInput, {path});
    CHECK(Read(path) == text);
  }
  Write(path, R"({"cpu": [1, 2]})");
  CheckFails([&] { ReadRates(path, "cpu"); }, ErrorKind::kInvalidInput, {path + ": cpu", "expected an object"});
}

TEST_CASE("paths that cannot be read or written are errors that name them, and leave nothing half-written") {
  const std::string folder = Folder("paths");
  fs::create_directory(folder + "/rates.json");
  CheckFails([&] { ReadRates(folder + "/rates.json", "cpu"); }, ErrorKind::kIo, {folder + "/rates.json"});
  CheckFails([&] { WriteRates(folder + "/rates.json", "cpu", {}); }, ErrorKind::kIo, {folder + "/rates.json"});
  Write(folder + "/file", "");
  CheckFails([&] { WriteRates(folder + "/file/rates.json", "cpu", {}); }, ErrorKind::kIo, {folder + "/file"});
  CHECK(std::distance(fs::directory_iterator(folder), fs::directory_iterator()) == 2);
}

TEST_CASE("a pipe in the place of the file is an error, and nobody waits for it") {
  const std::string path = Folder("pipe") + "/rates.json";
  REQUIRE(::mkfifo(path.c_str(), 0600) == 0);
  CheckFails([&] { ReadRates(path, "cpu"); }, ErrorKind::kIo, {path, "a pipe"});
  CheckFails([&] { WriteRates(path, "cpu", AssumedCpuRates()); }, ErrorKind::kIo, {path, "a pipe"});
}

TEST_CASE("a link to the file stays a link") {
  const std::string folder = Folder("link");
  fs::create_symlink(Write(folder + "/real.json", "{}"), folder + "/rates.json");
  WriteRates(folder + "/rates.json", "cpu", AssumedCpuRates());
  CHECK(fs::is_symlink(folder + "/rates.json"));
  CHECK(ReadRates(folder + "/real.json", "cpu") == AssumedCpuRates());
}

TEST_CASE("the default path follows the XDG rules") {
  ::setenv("HOME", "/home/ann", 1);
  ::setenv("XDG_CONFIG_HOME", "/elsewhere", 1);
  CHECK(DefaultRatesPath() == "/elsewhere/triforce/rates.json");
  ::setenv("XDG_CONFIG_HOME", "relative", 1);
  CHECK(DefaultRatesPath() == "/home/ann/.config/triforce/rates.json");
  ::unsetenv("XDG_CONFIG_HOME");
  CHECK(DefaultRatesPath() == "/home/ann/.config/triforce/rates.json");
  ::unsetenv("HOME");
  CheckFails([] { DefaultRatesPath(); }, ErrorKind::kUsage, {"HOME", "--rates"});
}

}  // namespace
}  // namespace triforce
