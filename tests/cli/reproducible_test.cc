// generate --reproducible, as a person runs it on machines of different sizes and speeds.
#include <doctest/doctest.h>

#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include "tests/cli/process.h"
#include "tests/cli/test_files.h"

namespace triforce {
namespace {

// A tiny model made for longer texts, so that there is KV to be moved about.
std::string LongTiny(const TemporaryFolder& folder, const std::string& model) {
  const std::string path = folder.CopyModel(model);
  nlohmann::json config = ReadJson(path + "/config.json");
  config["max_position_embeddings"] = 8192;
  std::ofstream(path + "/config.json") << config.dump();
  return path;
}

// Rates of the CPU, some of them `factor` times those assumed.
std::string RatesFile(const TemporaryFolder& folder, const std::string& name, double factor) {
  const nlohmann::json rates = {{"device_read_gbps", 25 * factor},
                                {"matmul_gflops", 150 / factor},
                                {"attention_gflops", 120 / factor},
                                {"op_us", 12 / factor},
                                {"link_to_device_gbps", 10},
                                {"link_to_host_gbps", 10},
                                {"link_both_gbps", 12},
                                {"compute_share_copying", 0.6},
                                {"host_read_gbps", 25},
                                {"disk_read_gbps", 1.5},
                                {"disk_write_gbps", 0.8},
                                {"all_reduce_us", 5},
                                {"source", "a test"}};
  return folder.Write(name, nlohmann::json{{"cpu", rates}}.dump());
}

nlohmann::json Ids(int64_t count, uint32_t seed) {
  nlohmann::json ids = nlohmann::json::array();
  for (int64_t i = 0; i < count; ++i) {
    seed = seed * 1664525u + 1013904223u;
    ids.push_back((seed >> 8) % 320);
  }
  return ids;
}

class Machine {
 public:
  Machine()
      : target_(LongTiny(target_folder_, "tests/data/tiny/gqa")),
        draft_(LongTiny(draft_folder_, "tests/data/tiny/plain")) {}

  const TemporaryFolder& folder() const { return folder_; }

  // The ids that a run gives.
  nlohmann::json Generate(const std::string& input, const std::string& more,
                          const std::vector<std::string>& last = {}) {
    const std::vector<std::string> common = {
        "generate",     "--ignore-eos",     "-m", target_, "-M", draft_, "-s", "5", "--temp", "0.8", "--reproducible",
        "--output-ids", folder_.Path("out")};
    const Result result = Run(With(With(With(common, Words(input)), Words(more)), last));
    CAPTURE(more);
    CAPTURE(result.err);
    REQUIRE(result.exit_code == 0);
    return ReadJson(folder_.Path("out"));
  }
  Result Try(const std::string& more) {
    const std::string ids = folder_.Write("short", Ids(40, 1).dump());
    return Run(With({"generate", "-m", target_, "-M", draft_, "-n", "9", "--ids", ids, "--reproducible"}, Words(more)));
  }

 private:
  const TemporaryFolder folder_, target_folder_, draft_folder_;
  const std::string target_, draft_;
};

TEST_CASE("reproducible: one drawn text whatever the memory limits, the rates and the threads") {
  Machine machine;
  const std::string disk = machine.folder().Path("");
  const std::string streamed = " --resident-kv 0 --device-memory 1G --host-memory 1G";
  const std::vector<std::string> settings = {
      " --device-memory 32M --host-memory 1G",
      streamed,
      streamed + " --resident-weights 0 --no-pipeline",
      streamed + " --host-kv 0 --disk-memory 1G --disk " + disk,
      streamed + " --host-kv 200K --host-weights 0 --resident-weights 0 --disk-memory 1G --disk " + disk,
      " --rates " + RatesFile(machine.folder(), "near", 1.15),
      " --rates " + RatesFile(machine.folder(), "far", 5) + " --link-gbps 0.5" + streamed,
      " --rates " + RatesFile(machine.folder(), "slow", 0.2),
      " --threads 1",
      " --threads 3" + streamed,
      " --no-graphs",
  };
  const std::string input = "--ids " + machine.folder().Write("ids", Ids(1300, 7).dump()) + " -n 50";
  const auto check = [&](const std::string& spec, size_t first, size_t step) {
    CAPTURE(spec);
    const nlohmann::json expected = machine.Generate(input, "--threads 2" + spec);
    CHECK(expected.size() == 50);
    for (size_t i = first; i < settings.size(); i += step) {
      CAPTURE(settings[i]);
      CHECK(machine.Generate(input, settings[i] + spec) == expected);
    }
  };
  check(" --spec hierarchy", 0, 1);
  check(" --spec ngram+hierarchy --budget 128 --reselect 16", 0, 3);
}

TEST_CASE("reproducible: lines of --prompts and --samples give the texts that they give alone") {
  Machine machine;
  const nlohmann::json shared = Ids(1100, 7);
  std::string lines;
  for (int i = 0; i < 3; ++i) lines += nlohmann::json{{"ids", shared}}.dump() + "\n";
  lines += nlohmann::json{{"ids", Ids(6000, 8)}, {"predict", 10}}.dump() + "\n";
  lines += nlohmann::json{{"ids", Ids(30, 9)}, {"predict", 90}}.dump() + "\n";
  const std::string prompts = "--prompts " + machine.folder().Write("prompts", lines) + " -n 40";
  const std::string one = machine.folder().Write("one", shared.dump());
  for (const char* mode : {"auto", "hierarchy"}) {
    CAPTURE(mode);
    const std::string spec = std::string(" --spec ") + mode;
    const nlohmann::json alone = machine.Generate(prompts, "--batch 1" + spec);
    CHECK(machine.Generate(prompts, "--batch 3" + spec) == alone);
    if (mode == std::string("auto")) continue;
    CHECK(machine.Generate(prompts, "--batch 2 --resident-kv 0 --device-memory 1G --host-memory 1G" + spec) == alone);
    const nlohmann::json samples = machine.Generate("--ids " + one + " -n 40 --samples 3", spec);
    for (int i = 0; i < 3; ++i) CHECK(samples[i] == alone[i]);
    CHECK(machine.Generate("--ids " + one + " -n 40", spec) == alone[0]);
  }
}

TEST_CASE("reproducible: what does not fit, or cannot repeat, is refused; plan says what would be") {
  Machine machine;
  const auto refused = [&](const std::string& more, int exit_code, const std::string& reason) {
    const Result result = machine.Try(more);
    CAPTURE(result.err);
    CHECK(result.exit_code == exit_code);
    CHECK(Contains(result.err, reason));
  };
  refused("--spec hierarchy --budget 100000000 -c 4000 --device-memory 12M --host-memory 1M", 1,
          "keeps hierarchy with a budget of 100000000 tokens, which does not fit");
  refused("--spec hierarchy --reselect never", 2, "--reproducible rules out");
  refused("--spec hierarchy --reselect 257", 2, "a number of tokens up to 256");
  refused("--spec hierarchy --middle h2o", 2, "does not go with --reproducible");
  const auto plan = [](const std::string& more) {
    const Result result = Run(Words("plan --shape llama2-7b --draft-shape llama-68m -c 65536 --reproducible " + more));
    CHECK(result.exit_code == 0);
    return result.out.substr(result.out.find("speculation "));
  };
  const std::string chosen = plan("");
  CHECK(Contains(chosen, "hierarchy, gamma "));
  CHECK(Contains(chosen, "budget 6528, reproducible; "));
  const auto without_time = [](const std::string& text) { return text.substr(0, text.find(';')); };
  CHECK(without_time(plan("--device-memory 12G --link-gbps 4 --batch 2")) == without_time(chosen));
}

}  // namespace
}  // namespace triforce
