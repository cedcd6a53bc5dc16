// triforce doctor: what it says of a machine, and what it stores.
#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "offload/rates_file.h"
#include "tests/cli/process.h"
#include "tests/cli/test_files.h"

namespace triforce {
namespace {

void CheckHas(const std::string& text, const std::vector<std::string>& parts) {
  for (const std::string& part : parts) {
    CAPTURE(part);
    CHECK_MESSAGE(Contains(text, part), text);
  }
}

const std::vector<std::string> kChecks = {"system", "memory", "swap", "locked memory", "huge pages", "io_uring", "GPU"};

TEST_CASE("checks and rates are shown within 80 columns, and stored") {
  const TemporaryFolder folder;
  const TemporaryFolder disk;
  const std::string rates = folder.Path("new/rates.json");
  const Result result = Run({"doctor", "--rates", rates, "--disk", disk.Path(""), "--working-set", "2M", "-t", "2"});
  CHECK(result.exit_code == 0);
  CHECK(result.err == "");
  CheckHas(result.out, kChecks);
  CheckHas(result.out, {"Machine", "disk", "Rates", "2 threads", "2.00 MiB", "measured", "assumed", "link, both ways",
                        "disk, write", "all-reduce", "Stored in " + rates});
  size_t begin = 0;
  for (size_t end; (end = result.out.find('\n', begin)) != std::string::npos; begin = end + 1) {
    const std::string line = result.out.substr(begin, end - begin);
    CHECK_MESSAGE((line.size() <= 80 || Contains(line, "/")), line);  // a path is not cut
  }
  CHECK(disk.List().empty());
  const auto stored = ReadRates(rates, "cpu");
  REQUIRE(stored.has_value());
  CHECK(stored->source.starts_with("measured 2"));
  CHECK_FALSE(Contains(stored->source, "assumed"));
  CHECK(stored->matmul_gflops != AssumedCpuRates().matmul_gflops);
  CHECK(stored->disk_read_gbps != AssumedCpuRates().disk_read_gbps);
}

TEST_CASE("as JSON: what is measured, what is assumed, and where it is stored") {
  const TemporaryFolder folder;
  const std::string rates = folder.Path("rates.json");
  const Result result = Run({"doctor", "--json", "--rates", rates, "--working-set", "1M"});
  REQUIRE(result.exit_code == 0);
  const nlohmann::json json = nlohmann::json::parse(result.out);
  CHECK(json["checks"].size() >= kChecks.size());
  for (const auto& check : json["checks"]) {
    const std::string verdict = check["verdict"];
    CHECK((verdict == "ok" || verdict == "note" || verdict == "problem"));
  }
  CHECK(json["rates"]["file"] == rates);
  CHECK(json["rates"]["working_set_bytes"] == 1 << 20);
  CHECK(json["rates"]["assumed"].size() == 12);
  CHECK(json["rates"]["measured"].size() == 9);  // no disk, no second device
  const auto stored = ReadRates(rates, "cpu");
  REQUIRE(stored.has_value());
  CHECK(json["rates"]["measured"]["op_us"] == stored->op_us);
  CHECK(Contains(stored->source, "disk assumed"));
}

TEST_CASE("the default file lies in the configuration's folder") {
  const TemporaryFolder folder;
  const Result result = Run({.arguments = {"doctor", "--working-set", "1M", "--device-memory", "64M"},
                             .environment = {{"XDG_CONFIG_HOME", folder.Path("config")}}});
  CHECK_MESSAGE(result.exit_code == 0, result.err);
  CHECK(ReadRates(folder.Path("config/triforce/rates.json"), "cpu").has_value());
}

TEST_CASE("only looking: no rates, nothing stored") {
  const TemporaryFolder folder;
  const Result result = Run({"doctor", "--no-measure", "--rates", folder.Path("rates.json")});
  CHECK(result.exit_code == 0);
  CheckHas(result.out, kChecks);
  CHECK_FALSE(Contains(result.out, "Rates"));
  CHECK(folder.List().empty());
}

TEST_CASE("a disk folder that is not there is a problem among the others, and is not measured") {
  const TemporaryFolder folder;
  const Result result =
      Run({"doctor", "--rates", folder.Path("rates.json"), "--disk", folder.Path("none"), "--working-set", "1M"});
  CHECK(result.exit_code == 0);
  CheckHas(result.out, {"problem", "No such file"});
  CHECK(ReadRates(folder.Path("rates.json"), "cpu")->disk_read_gbps == AssumedCpuRates().disk_read_gbps);
}

TEST_CASE("a rates file that is none is told before measuring, and is not written over") {
  const TemporaryFolder folder;
  const std::string rates = folder.Write("rates.json", "{\"cpu\"");
  const Result result = Run({"doctor", "--rates", rates});
  CHECK(result.exit_code == 1);
  CHECK(result.out == "");
  CheckHas(result.err, {"triforce: " + rates, "Delete the file"});
  CHECK(ReadText(rates) == "{\"cpu\"");
}

TEST_CASE("memory that does not suffice is an error with both numbers") {
  const TemporaryFolder folder;
  const Result result =
      Run({"doctor", "--rates", folder.Path("rates.json"), "--working-set", "64M", "--device-memory", "32M"});
  CHECK(result.exit_code == 1);
  CheckHas(result.err, {"67108864", "33554432"});
  CHECK(folder.List().empty());
}

TEST_CASE("what was typed wrongly is exit code 2, with the flag") {
  for (const std::vector<std::string>& c : std::vector<std::vector<std::string>>{{"--working-set", "lots"},
                                                                                 {"--working-set", "0"},
                                                                                 {"--device-memory", "-1"},
                                                                                 {"--threads", "-1"},
                                                                                 {"--disk"},
                                                                                 {"--frobnicate"}}) {
    CAPTURE(c[0]);
    std::vector<std::string> arguments = {"doctor"};
    arguments.insert(arguments.end(), c.begin(), c.end());
    const Result result = Run(arguments);
    CHECK(result.exit_code == 2);
    CHECK(result.out == "");
    CHECK_MESSAGE(Contains(result.err, c[0]), result.err);
  }
}

TEST_CASE("its help names every flag, and the program's names it") {
  CheckHas(Run({"--help"}).out, {"doctor"});
  const Result help = Run({"doctor", "--help"});
  CHECK(help.exit_code == 0);
  CheckHas(help.out, {"--disk", "--threads", "--rates", "--no-measure", "--json", "--device-memory", "--working-set"});
}

}  // namespace
}  // namespace triforce
