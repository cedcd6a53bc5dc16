// triforce plan: what it prints before anything is loaded, and that generate runs that very plan.
#include <doctest/doctest.h>

#include <cstdint>
#include <filesystem>
#include <string>

#include "tests/cli/process.h"
#include "tests/cli/test_files.h"

namespace triforce {
namespace {

constexpr int kFailure = 1;

// Rates of this machine, if somebody has measured them, have nothing to do with tests.
Result RunAssumed(std::vector<std::string> arguments) {
  const TemporaryFolder home;
  return Run({.arguments = std::move(arguments), .environment = {{"XDG_CONFIG_HOME", home.Path("config")}}});
}

nlohmann::json PlanJson(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), "plan");
  arguments.push_back("--json");
  const Result result = RunAssumed(arguments);
  CAPTURE(result.err);
  REQUIRE(result.exit_code == 0);
  nlohmann::json plan = nlohmann::json::parse(result.out);
  CHECK(plan.contains("labels"));  // of the run that is planned, not of the plan
  plan.erase("labels");
  return plan;
}

TEST_CASE("Llama2-13B at 128K on one and two 24 GiB cards: the table, the bars, and sums that add up") {
  for (const char* devices : {"1", "2"}) {
    const std::vector<std::string> arguments = {"plan",   "--shape",       "llama2-13b", "-c",
                                                "131072", "--devices",     devices,      "--device-memory",
                                                "24G",    "--host-memory", "128G"};
    const Result result = RunAssumed(arguments);
    CHECK(result.exit_code == 0);
    for (const char* part : {"800 KiB of KV per token", "resident weights", "streamed KV", "ms per token", "WWWW",
                             "KKKK", "rates          assumed"}) {
      CAPTURE(part);
      CHECK(Contains(result.out, part));
    }
    CHECK(Contains(result.out, std::string(devices) == "1" ? "; 1 device\n" : "; 2 devices\n"));
    const nlohmann::json plan = PlanJson({arguments.begin() + 1, arguments.end()});
    for (const char* tier : {"device", "host"}) {
      int64_t bytes = 0;
      for (const nlohmann::json& item : plan[tier]["items"]) bytes += item["bytes"].get<int64_t>();
      CHECK(plan[tier]["used_bytes"] == bytes);
      CHECK(bytes <= plan[tier]["limit_bytes"].get<int64_t>());
    }
  }
}

TEST_CASE("what does not fit: bytes missing and the longest context, which then fits; or the disk") {
  const std::vector<std::string> small = {"plan", "--shape",       "llama2-13b", "--device-memory",
                                          "24G",  "--host-memory", "64G",        "-c"};
  const auto with_context = [&](const std::string& context, const std::vector<std::string>& more = {}) {
    std::vector<std::string> arguments = small;
    arguments.push_back(context);
    arguments.insert(arguments.end(), more.begin(), more.end());
    return RunAssumed(arguments);
  };
  const Result refused = with_context("131072");
  CHECK(refused.exit_code == kFailure);
  CHECK(refused.out == "");
  CHECK(Contains(refused.err, "64.0 GiB (68719476736 bytes) are available"));
  const std::string before = "The longest context that fits is ";
  REQUIRE(Contains(refused.err, before));
  const int64_t longest = std::stoll(refused.err.substr(refused.err.find(before) + before.size()));
  CHECK(longest > 60000);
  CHECK(with_context(std::to_string(longest)).exit_code == 0);
  CHECK(with_context(std::to_string(longest + 1)).exit_code == kFailure);

  const TemporaryFolder folder;
  const Result on_disk = with_context("131072", {"--disk", folder.Path("."), "--disk-memory", "64G"});
  CHECK(on_disk.exit_code == 0);
  CHECK(Contains(on_disk.out, "disk "));
  CHECK(folder.List().empty());  // nothing is made, only planned
}

TEST_CASE("config.json is enough, and says the same as with the weights there") {
  const TemporaryFolder folder;
  std::filesystem::create_directory(folder.Path("model"));
  std::filesystem::copy(std::string(kDemoModel) + "/config.json", folder.Path("model/config.json"));
  const std::vector<std::string> limits = {"-c", "28000", "--device-memory", "80M", "--host-memory", "2G", "-m"};
  const auto plan = [&](const std::string& model) {
    std::vector<std::string> arguments = limits;
    arguments.push_back(model);
    return PlanJson(arguments);
  };
  CHECK(plan(folder.Path("model")) == plan(kDemoModel));
  CHECK(plan(kDemoModel)["streamed_bytes_per_pass"] > 0);
}

TEST_CASE("generate runs the very plan that plan prints, and streams what it says") {
  const TemporaryFolder folder;
  nlohmann::json ids = nlohmann::json::array();
  for (int i = 0; i < 1500; ++i) ids.push_back(i * 37 % 4000);
  const std::string prompt = folder.Write("ids.json", ids.dump());
  const std::vector<std::vector<std::string>> limits = {
      {"--device-memory", "1G", "--host-memory", "1G"},
      {"--device-memory", "1G", "--host-memory", "1G", "--resident-kv", "0", "--slots", "3", "--slot-size", "256K"},
      {"--device-memory", "1G", "--host-memory", "1G", "--resident-weights", "1M", "--resident-kv", "2M", "--host-kv",
       "1M", "--pinned-memory", "64K", "--disk", folder.Path("."), "--disk-memory", "1G", "--link-gbps", "5"}};
  nlohmann::json expected;
  for (const std::vector<std::string>& limit : limits) {
    CAPTURE(limit.size());
    std::vector<std::string> plan_arguments = {"-m", kDemoModel, "-c", "1510", "-n", "10", "--spec", "none"};
    plan_arguments.insert(plan_arguments.end(), limit.begin(), limit.end());
    const nlohmann::json plan = PlanJson(plan_arguments);
    std::vector<std::string> arguments = {"generate", "-m", kDemoModel,     "--ids",        prompt,
                                          "-n",       "10", "--ignore-eos", "--stats-json", folder.Path("s.json"),
                                          "-s",       "1",  "--spec",       "none"};
    arguments.insert(arguments.end(), limit.begin(), limit.end());
    const Result result = RunAssumed(arguments);
    CAPTURE(result.err);
    REQUIRE(result.exit_code == 0);
    const nlohmann::json stats = ReadJson(folder.Path("s.json"));
    CHECK(stats["plan"] == plan);
    if (expected.is_null()) expected = stats["ids"];
    CHECK(stats["ids"] == expected);
    // Nine passes follow the prompt; and what was sent ahead for a tenth.
    const nlohmann::json& bytes = stats["bytes"];
    const int64_t weights = plan["streamed_bytes_per_pass"].get<int64_t>() == 0
                                ? 0
                                : bytes["by_purpose"]["host_to_device"]["weights"].get<int64_t>();
    const int64_t in =
        bytes["host_to_device"].get<int64_t>() - bytes["by_purpose"]["host_to_device"]["hidden"].get<int64_t>();
    CHECK(in >= 9 * plan["streamed_bytes_per_pass"].get<int64_t>());
    CHECK(in <= 10 * plan["streamed_bytes_per_pass"].get<int64_t>() + weights +
                    plan["ring"]["slots"].get<int64_t>() * plan["ring"]["slot_bytes"].get<int64_t>());
    CHECK((bytes["disk_read"] > 0) == (plan["disk"]["used_bytes"] > 0));
    CHECK(folder.List() == std::vector<std::string>{"ids.json", "s.json"});
  }
}

TEST_CASE("with a draft, too: plan and generate choose alike") {
  const TemporaryFolder folder;
  const std::string prompt = folder.Write("ids.json", nlohmann::json(std::vector<int>(1500, 7)).dump());
  for (const std::vector<std::string>& more :
       {std::vector<std::string>{}, {"--resident-kv", "0", "--link-gbps", "0.1"}, {"--spec", "ngram+retrieval"}}) {
    std::vector<std::string> arguments = {
        "-m", kDemoModel,      "-n", "10", "--draft-model", "models/demo/draft", "--device-memory",
        "1G", "--host-memory", "1G"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    std::vector<std::string> plan_arguments = arguments;
    plan_arguments.insert(plan_arguments.end(), {"-c", "1510"});
    const nlohmann::json plan = PlanJson(plan_arguments);
    arguments.insert(arguments.begin(), "generate");
    arguments.insert(arguments.end(), {"--ids", prompt, "--stats-json", folder.Path("s.json")});
    const Result result = RunAssumed(arguments);
    CAPTURE(result.err);
    REQUIRE(result.exit_code == 0);
    CHECK(ReadJson(folder.Path("s.json"))["plan"] == plan);
  }
}

TEST_CASE("bad input") {
  const auto refused = [](const std::vector<std::string>& arguments, const char* part) {
    const Result result = RunAssumed(arguments);
    CAPTURE(result.err);
    CHECK(result.exit_code != 0);
    CHECK(result.out == "");
    CHECK(Contains(result.err, part));
  };
  refused({"plan"}, "exactly one of --model and --shape");
  refused({"plan", "-m", kDemoModel, "--shape", "llama2-7b"}, "exactly one of --model and --shape");
  refused({"plan", "--shape", "llama2-8b"}, "llama2-13b");
  refused({"plan", "--shape", "llama2-7b", "-c", "200000"}, "131072");
  refused({"plan", "--shape", "llama2-7b", "--device-memory", "much"}, "much");
  refused({"plan", "--shape", "llama2-7b", "--slots", "1"}, "--slots");
  refused({"plan", "--shape", "llama2-7b", "--devices", "3"}, "--devices");
  refused({"plan", "-m", "nowhere"}, "nowhere");
  refused({"plan", "--shape", "llama2-7b", "--rates", "nowhere.json"}, "nowhere.json");
  refused({"plan", "--shape", "llama2-7b", "--disk", "nowhere/at/all"}, "nowhere/at/all");
  refused({"generate", "-m", kDemoModel, "-p", "x", "--device-memory", "12M"}, "No context fits");
  refused({"generate", "-m", kDemoModel, "-p", "x", "--device-memory", "1G", "--host-memory", "1M",
           "--resident-weights", "0"},
          "host memory");
}

}  // namespace
}  // namespace triforce
