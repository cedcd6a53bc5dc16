// The program on a GPU, which is the simulator: what a person sees of emulation and of a trace.
#include <doctest/doctest.h>

#include <map>
#include <set>
#include <string>

#include "tests/cli/process.h"
#include "tests/cli/test_files.h"

namespace triforce {
namespace {

Result RunOnSimulator(std::vector<std::string> arguments) {
  const TemporaryFolder home;  // without rates that somebody has measured
  arguments.insert(arguments.begin() + 1, {"--device", "cuda:0"});
  return Run({.arguments = std::move(arguments),
              .environment = {{"XDG_CONFIG_HOME", home.Path("config")}},
              .program = "tools/triforce_sim"});
}

TEST_CASE("less memory than the GPU has, and a link that is held back, label plans") {
  const auto plan = [](const std::vector<std::string>& more) {
    const Result result = RunOnSimulator(With(Words("plan --shape tiny -c 600 --host-memory 64M"), more));
    CAPTURE(result.err);
    CHECK(result.exit_code == 0);
    return result.out;
  };
  CHECK(Contains(plan({"--device-memory", "512M"}),
                 "emulated: memory limited to 512 MiB of the 4.00 GiB that the simulator has\n"));
  CHECK(Contains(plan({"--device-memory", "512M", "--link-gbps", "25.4"}),
                 "emulated: link held to 25.4 GB/s, memory limited to 512 MiB of the 4.00 GiB that the simulator has"));
  CHECK_FALSE(Contains(plan({}), "emulated"));
  CHECK_FALSE(Contains(plan({"--device-memory", "4G"}), "emulated"));
}

TEST_CASE("a hierarchy that streams: labelled, within its limit, its kernels and copies in the trace") {
  const TemporaryFolder folder;
  const Result result = RunOnSimulator(With(
      Words("generate --shape tiny --random-weights --draft-shape tiny --prompt-tokens 530 -n 4 --seed 1 --spec "
            "hierarchy "
            "--no-graphs --gamma 3 --draft-gamma 1 --budget 128 --resident-kv 0 --device-memory 512M --host-memory 64M "
            "-v"),
      {"--stats-json", folder.Path("stats"), "--trace", folder.Path("trace")}));
  CAPTURE(result.err);
  REQUIRE(result.exit_code == 0);
  CHECK(Contains(result.err, "emulated: memory limited to 512 MiB"));
  CHECK(Contains(result.err, "retrieval pass: compute lane works "));
  const nlohmann::json stats = ReadJson(folder.Path("stats"));
  CHECK(stats["labels"].size() == 2);
  CHECK(stats["peak_bytes"]["device"] <= stats["plan"]["device"]["used_bytes"].get<int64_t>());

  std::map<int64_t, std::string> rows;
  std::map<std::string, std::set<std::string>> names;  // by row
  const nlohmann::json trace = ReadJson(folder.Path("trace"));
  for (const nlohmann::json& event : trace["traceEvents"]) {
    if (event["ph"] == "M") rows[event["tid"]] = event["args"]["name"];
    if (event["ph"] == "X") names[rows[event["tid"]]].insert(event["name"].get<std::string>());
  }
  for (const char* kernel : {"attention", "attention_merge", "linear", "matmul", "rms_norm", "rope", "chunk_select"}) {
    CAPTURE(kernel);
    CHECK(names["compute"].contains(kernel));
  }
  CHECK(names["copy"].contains("KV to device"));
  CHECK(names["copy"].contains("KV to host"));
  CHECK(names["retrieval"].contains("retrieval pass"));
  std::set<std::string> passes;
  for (const nlohmann::json& pass : stats["compute_lane"]) {
    passes.insert(pass["pass"].get<std::string>());
    const double all = pass["work"].get<double>() + pass["waits"].get<double>() + pass["gaps"].get<double>() +
                       pass["edges"].get<double>();
    CHECK(all == doctest::Approx(1));
    CHECK(pass["work"].get<double>() > 0.5);
  }
  CHECK(passes == std::set<std::string>{"verify pass", "retrieval pass", "draft pass"});
}

}  // namespace
}  // namespace triforce
