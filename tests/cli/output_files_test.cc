// Files that a run writes: whole or not at all, and known to be writable before the work.
#include <doctest/doctest.h>

#include <csignal>

#include "tests/cli/process.h"
#include "tests/cli/test_files.h"

namespace triforce {
namespace {

std::vector<std::string> Generate(const std::vector<std::string>& more) {
  std::vector<std::string> arguments = {"generate", "-m", kDemoModel, "-p", "The old man", "-n", "5", "-s", "1"};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return arguments;
}

TEST_CASE("a path that cannot be written is told before any work") {
  for (const char* flag : {"--stats-json", "--output-ids"}) {
    CAPTURE(flag);
    for (const char* path : {"/no/such/folder/file.json", "/proc/file.json"}) {
      const Result result = Run(Generate({flag, path}));
      CHECK(result.exit_code == 1);
      CHECK(result.out == "");
      CHECK_MESSAGE(result.err.find(path) != std::string::npos, result.err);
    }
  }
  const Result result = Run({"eval", "-m", kDemoModel, "-p", "The old man", "--logits-out", "/no/such/folder/l"});
  CHECK(result.exit_code == 1);
  CHECK(result.out == "");
}

TEST_CASE("a full disk is a failure, not a short file") {
  for (const std::vector<std::string>& arguments :
       {Generate({"--stats-json", "/dev/full"}), Generate({"--output-ids", "/dev/full"})}) {
    const Result result = Run(arguments);
    CHECK(result.exit_code == 1);
    CHECK_MESSAGE(result.err.find("/dev/full") != std::string::npos, result.err);
    CHECK_MESSAGE(result.err.find("No space left") != std::string::npos, result.err);
  }
}

TEST_CASE("standard output on a full disk is a failure too") {
  const Result result = Run({.arguments = Generate({}), .output_path = "/dev/full"});
  CHECK(result.exit_code == 1);
}

TEST_CASE("a failed run leaves what stood there before, and nothing beside it") {
  const TemporaryFolder folder;
  const std::string stats = folder.Write("s.json", "before");
  CHECK(Run({"generate", "-m", kDemoModel, "-p", "", "--stats-json", stats}).exit_code == 1);
  CHECK(Run({"generate", "-m", kDemoModel, "-p", "x", "--device-memory", "1M", "--stats-json", stats}).exit_code == 1);
  CHECK(ReadText(stats) == "before");
  CHECK(folder.List() == std::vector<std::string>{"s.json"});
  CHECK(Run(Generate({"--stats-json", stats})).exit_code == 0);
  CHECK(ReadJson(stats)["generated_tokens"] == 5);
  CHECK(folder.List() == std::vector<std::string>{"s.json"});
}

TEST_CASE("files can go to a device") { CHECK(Run(Generate({"--output-ids", "/dev/null"})).exit_code == 0); }

TEST_CASE("a reader that goes away ends the run quietly") {
  Process process({.arguments = {"generate", "-m", kDemoModel, "-p", "The old man", "-n", "-1", "--ignore-eos"}});
  REQUIRE(process.WaitForOutput("The old man"));
  process.StopReading();
  const Result result = process.Wait();
  CHECK(result.exit_code == 128 + SIGPIPE);
  CHECK(result.err.find("terminate") == std::string::npos);
}

}  // namespace
}  // namespace triforce
