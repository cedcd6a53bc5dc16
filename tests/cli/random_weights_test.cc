// Models of a shape, with random weights, and emulated runs: that they run, repeat and move the bytes that the plan
// says, and that every output is labelled.
#include <doctest/doctest.h>

#include <set>
#include <sstream>

#include "offload/rates.h"
#include "offload/rates_file.h"
#include "tests/cli/process.h"
#include "tests/cli/test_files.h"

namespace triforce {
namespace {

constexpr char kRandom[] = "random weights: times and bytes only; text and acceptance mean nothing";
constexpr char kEmulated[] = "emulated: link held to 2 GB/s";

// A hierarchy with fixed gammas, all KV streamed.
std::vector<std::string> Generate(const std::vector<std::string>& more) {
  return With(Words("generate --shape tiny --random-weights --draft-shape tiny --prompt-tokens 2000 -n 20 --seed 3 "
                    "--spec hierarchy --gamma 5 --draft-gamma 2 --device-memory 256M --host-memory 256M "
                    "--resident-kv 0 -t 2"),
              more);
}

TEST_CASE("generate with random weights: what the plan says is what happens, each time, and it is labelled") {
  const TemporaryFolder folder;
  std::vector<nlohmann::json> stats;
  for (int run = 0; run < 2; ++run) {
    const Result result = Run(Generate({"--stats-json", folder.Path("stats")}));
    CAPTURE(result.err);
    REQUIRE(result.exit_code == 0);
    CHECK(Contains(result.err, kRandom));
    CHECK_FALSE(Contains(result.err, "emulated"));
    stats.push_back(ReadJson(folder.Path("stats")));
  }
  CHECK(stats[0]["ids"] == stats[1]["ids"]);
  const nlohmann::json& s = stats[0];
  CHECK(s["labels"] == nlohmann::json::array({kRandom}));
  CHECK(s["generated_tokens"] == 20);
  CHECK(s["peak_bytes"]["device"] <= s["plan"]["device"]["limit_bytes"].get<int64_t>());
  // A pass is streamed for each round; what the ring has room for may be on its way for further ones.
  const int64_t rounds = s["levels"][0]["rounds"], streamed = s["plan"]["streamed_bytes_per_pass"];
  REQUIRE(streamed > 0);
  const int64_t kv = s["bytes"]["by_purpose"]["host_to_device"]["kv"];
  const nlohmann::json& ring = s["plan"]["ring"];
  CHECK(kv >= rounds * streamed);
  CHECK(kv <= rounds * streamed + ring["slots"].get<int64_t>() * ring["slot_bytes"].get<int64_t>());
  std::vector<std::string> steps;
  for (const nlohmann::json& step : s["steps"]) {
    steps.push_back(step["step"]);
    CHECK(step["ms"].get<double>() > 0);
    CHECK(step["expected_ms"].get<double>() > 0);
  }
  CHECK(steps == std::vector<std::string>{"prefill", "verify", "retrieval pass", "selection", "draft pass"});
}

TEST_CASE("random weights are the same wherever they lie; logits are finite, greedy text repeats") {
  const TemporaryFolder folder;
  const std::vector<std::string> greedy = Words(
      "generate --shape tiny --random-weights --prompt-tokens 700 -n 16 --temp 0 --spec none -t 2 "
      "--host-memory 256M");
  const Result resident = Run(With(greedy, {"--device-memory", "256M"}));
  CAPTURE(resident.err);
  REQUIRE(resident.exit_code == 0);
  for (const std::vector<std::string>& placement :
       {std::vector<std::string>{"--resident-weights", "0", "--resident-kv", "0"},
        {"--resident-weights", "100000", "--host-weights", "150000", "--disk", folder.Path(".")}}) {
    const Result result = Run(With(With(greedy, {"--device-memory", "256M"}), placement));
    CAPTURE(result.err);
    CHECK(result.exit_code == 0);
    CHECK(result.out == resident.out);
  }
  // Nonsense, but not the one token that NaNs would give.
  const Result eight =
      Run(Words("generate --shape tiny --random-weights --prompt-tokens 3 -n 8 --seed 1 --device-memory 256M"));
  CHECK(eight.exit_code == 0);
  std::set<std::string> ids;
  std::istringstream words(eight.out);
  for (std::string id; words >> id;) ids.insert(id);
  CHECK(ids.size() > 3);
}

TEST_CASE("bench with random weights and a throttled link: labels in every output") {
  const TemporaryFolder folder;
  WriteRates(folder.Path("rates"), "cpu", AssumedCpuRates());
  const Result result = Run(With(
      Words("bench --shape tiny --random-weights --draft-shape tiny --contexts 700 -n 8 --seeds 1 --warmup 0 --gamma 3 "
            "--draft-gamma 1 --device-memory 256M --host-memory 256M --resident-kv 0 --link-gbps 2"),
      {"--modes", "plain resident,hierarchy", "--rates", folder.Path("rates"), "--json", folder.Path("json"), "--csv",
       folder.Path("csv"), "--html", folder.Path("html")}));
  CAPTURE(result.err);
  REQUIRE(result.exit_code == 0);
  for (const std::string& text :
       {result.out, ReadText(folder.Path("json")), ReadText(folder.Path("csv")), ReadText(folder.Path("html"))}) {
    CHECK(Contains(text, kRandom));
    CHECK(Contains(text, kEmulated));
  }
  const nlohmann::json json = ReadJson(folder.Path("json"));
  CHECK(json["model"] == "tiny with random weights");
  CHECK(json["prefills"].size() == 1);
  const nlohmann::json& hierarchy = json["rows"][1];
  CHECK(hierarchy["verify_ms"].get<double>() > 0);
  CHECK(hierarchy["expected_steps"]["verify_ms"].get<double>() > 0);
  CHECK(hierarchy["levels"].size() == 2);
}

TEST_CASE("a throttled link labels a run with real weights, and a plan") {
  const TemporaryFolder folder;
  const Result run = Run({"generate", "-m", kTinyModel, "--prompt-tokens", "40", "-n", "2", "--link-gbps", "2",
                          "--device-memory", "64M", "--stats-json", folder.Path("stats")});
  CAPTURE(run.err);
  CHECK(run.exit_code == 0);
  CHECK(Contains(run.err, kEmulated));
  CHECK(ReadJson(folder.Path("stats"))["labels"] == nlohmann::json::array({kEmulated}));
  for (const bool json : {false, true}) {
    std::vector<std::string> arguments = {"plan", "--shape", "llama2-7b", "-c", "4096", "--link-gbps", "2"};
    if (json) arguments.emplace_back("--json");
    const Result plan = Run(arguments);
    CHECK(plan.exit_code == 0);
    CHECK(Contains(plan.out, kEmulated));
    arguments = {"plan", "--shape", "llama2-7b", "-c", "4096"};
    CHECK_FALSE(Contains(Run(arguments).out, "emulated"));
  }
}

TEST_CASE("several prompts of ids with random weights") {
  const TemporaryFolder folder;
  const std::string prompts = folder.Write("prompts", "{\"ids\": [1, 2, 3]}\n{\"ids\": [4, 5]}\n");
  const Result result = Run({"generate", "--shape", "tiny", "--random-weights", "--prompts", prompts, "-n", "4",
                             "--device-memory", "256M", "--stats-json", folder.Path("stats")});
  CAPTURE(result.err);
  CHECK(result.exit_code == 0);
  CHECK(Contains(result.err, kRandom));
  CHECK(ReadJson(folder.Path("stats"))["labels"].size() == 1);
}

TEST_CASE("what contradicts itself is refused with its reason") {
  const auto refused = [](const std::vector<std::string>& arguments, const std::string& reason) {
    const Result result = Run(arguments);
    CAPTURE(result.err);
    CHECK(result.exit_code == 2);
    CHECK(result.out == "");
    CHECK(Contains(result.err, reason));
  };
  const std::vector<std::string> random = {"generate", "--shape", "tiny", "--random-weights"};
  refused({"generate", "--shape", "tiny", "--prompt-tokens", "5"}, "--shape: has no weights");
  refused({"generate", "--random-weights", "--prompt-tokens", "5"}, "--random-weights: needs a shape");
  refused({"generate", "-m", kTinyModel, "--random-weights", "--prompt-tokens", "5"},
          "--random-weights: needs a shape");
  refused(With(random, {"-m", kTinyModel, "--prompt-tokens", "5"}), "--shape: contradicts --model");
  refused(With(random, {"-p", "text"}), "has no tokenizer");
  refused(With(random, {"--prompt-tokens", "5", "--stop", "end"}), "--stop");
  refused(With(random, {"--prompt-tokens", "0"}), "--prompt-tokens");
  refused(With(random, {"--prompt-tokens", "5", "--ids", "x"}),
          "found 2 of --prompt, --file, --ids and --prompt-tokens");
  refused(With(random, {"--prompt-tokens", "5", "--spec", "draft"}), "needs a draft model");
  refused(With(random, {"--prompt-tokens", "5", "--draft-shape", "tiny", "-M", kTinyModel}),
          "contradicts --draft-model");
  refused(With(random, Words("--prompt-tokens 5 --draft-shape llama-68m --spec draft --device-memory 1G")),
          "has a vocabulary of 32000 tokens");
  refused({"generate", "-m", kTinyModel, "--draft-shape", "tiny", "--prompt-tokens", "5"},
          "--draft-shape: has no weights");
  refused({"generate", "--shape", "llama9", "--random-weights", "--prompt-tokens", "5"}, "llama9");
  refused({"bench", "--shape", "tiny", "--random-weights", "-f", kBook}, "--file: needs a tokenizer");
  refused({"eval", "--shape", "tiny"}, "--shape");
}

}  // namespace
}  // namespace triforce
