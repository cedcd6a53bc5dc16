// Where flags come from: the command line, the environment, a config file; in this order.
#include <doctest/doctest.h>

#include "tests/cli/process.h"
#include "tests/cli/test_files.h"

namespace triforce {
namespace {

constexpr char kPrompt[] = "The old man";

using Environment = std::map<std::string, std::string>;

// Runs generate on the demo model, with statistics in `folder`; returns those.
nlohmann::json Generate(const TemporaryFolder& folder, std::vector<std::string> arguments,
                        Environment environment = {}) {
  const std::string stats = folder.Path("stats.json");
  arguments.insert(arguments.begin(), "generate");
  environment["TRIFORCE_STATS_JSON"] = stats;
  const Result result = Run({.arguments = arguments, .environment = environment});
  CAPTURE(result.err);
  REQUIRE(result.exit_code == 0);
  return ReadJson(stats);
}

TEST_CASE("the command line wins over the environment, and that over the config file") {
  const TemporaryFolder folder;
  const std::string config = folder.Write("c.toml", "predict = 3\nseed = 3\n");
  const std::vector<std::string> base = {"-m", kDemoModel, "-p", kPrompt, "--config", config, "--ignore-eos"};
  const nlohmann::json from_file = Generate(folder, base);
  CHECK(from_file["generated_tokens"] == 3);
  CHECK(from_file["seed"] == 3);
  const nlohmann::json from_environment = Generate(folder, base, {{"TRIFORCE_PREDICT", "5"}});
  CHECK(from_environment["generated_tokens"] == 5);
  CHECK(from_environment["seed"] == 3);
  std::vector<std::string> typed = base;
  typed.insert(typed.end(), {"-n", "7", "--seed", "7"});
  const nlohmann::json from_command_line = Generate(folder, typed, {{"TRIFORCE_PREDICT", "5"}, {"TRIFORCE_SEED", "5"}});
  CHECK(from_command_line["generated_tokens"] == 7);
  CHECK(from_command_line["seed"] == 7);
}

TEST_CASE("a run can be given by the environment alone, or by a config file alone") {
  const TemporaryFolder folder;
  const Environment variables = {{"TRIFORCE_MODEL", kDemoModel},      {"TRIFORCE_PROMPT", kPrompt},
                                 {"TRIFORCE_PREDICT", "4"},           {"TRIFORCE_TEMP", "0"},
                                 {"TRIFORCE_CTX_SIZE", "64"},         {"TRIFORCE_KV_TYPE", "f32"},
                                 {"TRIFORCE_NO_DISPLAY_PROMPT", "1"}, {"TRIFORCE_IGNORE_EOS", "true"},
                                 {"TRIFORCE_THREADS", "1"},           {"TRIFORCE_DEVICE_MEMORY", "1G"}};
  CHECK(Generate(folder, {}, variables)["generated_tokens"] == 4);
  const std::string config = folder.Write("c.toml",
                                          "model = \"models/demo/target\"\nprompt = \"The old man\"\npredict = 4\n"
                                          "temp = 0\nctx-size = 64\nkv-type = \"f32\"\nno-display-prompt = true\n"
                                          "ignore-eos = true\nthreads = 1\ndevice-memory = \"1G\"\n");
  CHECK(Generate(folder, {}, {{"TRIFORCE_CONFIG", config}})["generated_tokens"] == 4);
}

TEST_CASE("a command's table holds for that command only, and other commands' flags do no harm") {
  const TemporaryFolder folder;
  const std::string config = folder.Write(
      "c.toml", "model = \"models/demo/target\"\nprompt = \"The old man and the sea\"\n[generate]\npredict = 2\n");
  CHECK(Generate(folder, {"--config", config, "--ignore-eos"})["generated_tokens"] == 2);
  CHECK(Run({"eval", "--config", config}).exit_code == 0);
}

TEST_CASE("lists in a config file give a flag several times") {
  const TemporaryFolder folder;
  const std::vector<std::string> base = {"-m", kDemoModel, "-p", kPrompt, "--temp", "0", "-n", "40"};
  const nlohmann::json whole = Generate(folder, base);
  const std::string config = folder.Write("c.toml", "stop = [\"in no text\", \"e\"]\n");
  std::vector<std::string> stopped = base;
  stopped.insert(stopped.end(), {"--config", config});
  const nlohmann::json stats = Generate(folder, stopped);
  CHECK(stats["finish_reason"] == "stop_string");
  CHECK(stats["generated_tokens"] < whole["generated_tokens"]);
}

TEST_CASE("every other variable's name is left alone") {
  const TemporaryFolder folder;
  CHECK(Generate(folder, {"-m", kDemoModel, "-p", kPrompt, "-n", "1"}, {{"TRIFORCE_UNKNOWN", "x"}})["prompt_tokens"] ==
        4);
}

TEST_CASE("what is wrong in a config file is told with file, line and key") {
  const TemporaryFolder folder;
  struct Case {
    std::string content;
    std::vector<std::string> parts;
  };
  for (const Case& c : std::vector<Case>{
           {"\n\ntempp = 0.5\n", {"c.toml:3", "tempp"}},
           {"[generate]\nfrobnicate = 1\n", {"c.toml:2", "frobnicate"}},
           {"[frobnicate]\ntemp = 1\n", {"c.toml:1", "frobnicate"}},
           {"# one\ntemp = \"warm\"\n", {"c.toml:2", "temp", "warm"}},
           {"predict = 1.5\n", {"c.toml:1", "predict", "1.5"}},
           {"ignore-eos = \"perhaps\"\n", {"c.toml:1", "ignore-eos"}},
           {"temp = 1979-05-27\n", {"c.toml:1", "temp"}},
           {"one = 1\ntemp =\n", {"c.toml:2"}},
       }) {
    CAPTURE(c.content);
    const std::string config = folder.Write("c.toml", c.content);
    const Result result = Run({"generate", "-m", kDemoModel, "-p", kPrompt, "--config", config});
    CHECK((result.exit_code == 1 || result.exit_code == 2));
    CHECK(result.out == "");
    for (const std::string& part : c.parts) CHECK_MESSAGE(Contains(result.err, part), result.err);
  }
}

TEST_CASE("a config file that is not there is an error") {
  const Result result = Run({"generate", "-m", kDemoModel, "-p", kPrompt, "--config", "no/such.toml"});
  CHECK(result.exit_code == 1);
  CHECK(Contains(result.err, "no/such.toml"));
}

TEST_CASE("a bad value in the environment is a usage error") {
  const Result result =
      Run({.arguments = {"generate", "-m", kDemoModel, "-p", kPrompt}, .environment = {{"TRIFORCE_TEMP", "warm"}}});
  CHECK(result.exit_code == 2);
  CHECK(Contains(result.err, "warm"));
}

}  // namespace
}  // namespace triforce
