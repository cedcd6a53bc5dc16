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

TEST_CASE("a text that looks like a list, or like a flag, is a text") {
  const TemporaryFolder folder;
  const std::vector<std::string> base = {"generate", "-m", kDemoModel, "-p", "Once upon a time",
                                         "-n",       "24", "--temp",   "0"};
  const std::string whole = Run(base).out;  // has "he" and ","
  REQUIRE(Contains(whole, "he"));
  REQUIRE(Contains(whole, ","));
  for (const char* stop : {"[he]", "[he,a]", "--temp"}) {
    CAPTURE(stop);
    CHECK(Run(With(base, {"--stop", stop, "--stop", "[]", "--stop={}"})).out == whole);
    CHECK(Run({.arguments = base, .environment = {{"TRIFORCE_STOP", stop}}}).out == whole);
    const std::string quoted = nlohmann::json(stop).dump();
    const std::string config = folder.Write("c.toml", "stop = [" + quoted + ", \"[,]\"]\n");
    CHECK(Run(With(base, {"--config", config})).out == whole);
  }
  const std::string comma = folder.Write("c.toml", "stop = [\"lo\", \",\"]\n");
  CHECK(Run(With(base, {"--config", comma})).out == "Once upon a time\n");
  CHECK(Run(With(base, {"--stop", "lo", "--stop", ","})).out == "Once upon a time\n");
  for (const char* prompt : {"[The, old]", "--config=no/such.toml", "--help", "-n"}) {
    CAPTURE(prompt);
    const Result result = Run({"generate", "-m", kDemoModel, "-p", prompt, "-n", "1"});
    CHECK_MESSAGE(result.out.starts_with(prompt), result.err);
  }
}

TEST_CASE("only the command that runs looks at a variable or an entry") {
  const TemporaryFolder folder;
  const Environment bad = {{"TRIFORCE_PREDICT", "-5"}, {"TRIFORCE_TEMP", "warm"}, {"TRIFORCE_GAMMA", "0"}};
  CHECK(Run({.arguments = {"inspect", "-m", kDemoModel}, .environment = bad}).exit_code == 0);
  const Result refused = Run({.arguments = {"generate", "-m", kDemoModel, "-p", "x"}, .environment = bad});
  CHECK(refused.exit_code == 2);
  CHECK_MESSAGE(Contains(refused.err, "TRIFORCE_"), refused.err);
  const std::string config = folder.Write("c.toml", "predict = -5\ntemp = \"warm\"\n[generate]\ngamma = 0\n");
  CHECK(Run({"inspect", "-m", kDemoModel, "--config", config}).exit_code == 0);
  CHECK(Run({"generate", "-m", kDemoModel, "-p", "x", "--config", config}).exit_code == 1);
}

TEST_CASE("a command's table wins over the top of the file, and a --no- flag turns its option off") {
  const TemporaryFolder folder;
  const std::string config = folder.Write("c.toml", "predict = 3\n[generate]\npredict = 2\n");
  CHECK(Generate(folder, {"-m", kDemoModel, "-p", kPrompt, "--config", config, "--ignore-eos"})["generated_tokens"] ==
        2);
  const std::string shape = "plan --shape llama2-7b -c 4096 --json";
  const auto pipeline = [&](const std::string& entry, Environment environment) {
    const std::string path = folder.Write("p.toml", entry);
    const Result result = Run({.arguments = With(Words(shape), {"--config", path}), .environment = environment});
    CHECK_MESSAGE(result.exit_code == 0, result.err);
    return nlohmann::json::parse(result.out)["times"];
  };
  CHECK(pipeline("no-pipeline = true\n", {}) == pipeline("pipeline = false\n", {}));
  CHECK(pipeline("", {{"TRIFORCE_NO_PIPELINE", "1"}}) == pipeline("", {{"TRIFORCE_PIPELINE", "off"}}));
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
  for (const char* path : {"no/such.toml", "models/demo"}) {  // the second is a folder
    const Result result = Run({"generate", "-m", kDemoModel, "-p", kPrompt, "--config", path});
    CHECK(result.exit_code == 1);
    CHECK(Contains(result.err, path));
  }
}

TEST_CASE("a bad value in the environment is a usage error") {
  const Result result =
      Run({.arguments = {"generate", "-m", kDemoModel, "-p", kPrompt}, .environment = {{"TRIFORCE_TEMP", "warm"}}});
  CHECK(result.exit_code == 2);
  CHECK(Contains(result.err, "warm"));
}

}  // namespace
}  // namespace triforce
