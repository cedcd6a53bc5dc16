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

TEST_CASE("messages that cannot be written are dropped: text, files and exit code are right") {
  const std::string expected = Run(Generate({})).out;
  for (const char* errors : {"/dev/full", kClosed, kBrokenPipe}) {
    CAPTURE(errors);
    const TemporaryFolder folder;
    const std::string ids = folder.Path("i.json"), stats = folder.Path("s.json"), trace = folder.Path("t.json");
    const Result result =
        Run({.arguments = Generate({"-v", "--output-ids", ids, "--stats-json", stats, "--trace", trace}),
             .error_path = errors});
    CHECK(result.exit_code == 0);
    CHECK(result.out == expected);
    CHECK(ReadJson(ids).size() == 5);
    CHECK(ReadJson(stats)["ids"] == ReadJson(ids));
    CHECK(ReadJson(trace).contains("traceEvents"));
    // An error's message is dropped, too, and the exit code stays.
    CHECK(Run({.arguments = {"generate", "--frobnicate"}, .error_path = errors}).exit_code == 2);
  }
}

TEST_CASE("text that cannot be written is a failure with one message, and files are whole") {
  for (const char* output : {"/dev/full", kClosed, kBrokenPipe}) {
    CAPTURE(output);
    const TemporaryFolder folder;
    const std::string ids = folder.Path("i.json"), stats = folder.Path("s.json"), logits = folder.Path("l");
    const Result result =
        Run({.arguments = Generate({"--output-ids", ids, "--stats-json", stats}), .output_path = output});
    CHECK(result.exit_code == 1);
    CHECK_MESSAGE(Contains(result.err, "triforce: stdout: cannot be written: "), result.err);
    CHECK(result.err.find("triforce: ") == result.err.rfind("triforce: "));
    CHECK(ReadJson(ids).size() == 5);
    CHECK(ReadJson(stats)["finish_reason"] == "length");
    const Result eval =
        Run({.arguments = {"eval", "-m", kDemoModel, "-p", "x", "--logits-out", logits}, .output_path = output});
    CHECK(eval.exit_code == 1);
    CHECK(ReadText(logits).size() > 4096 * sizeof(float));
    const Invocation version{.arguments = {"--version"}, .output_path = output};
    CHECK(Run(version).exit_code == (output == kBrokenPipe ? 128 + SIGPIPE : 1));
  }
}

TEST_CASE("no text or message lands in a file of the run where streams are closed at its start") {
  const TemporaryFolder folder;
  const std::string ids = folder.Path("i.json"), stats = folder.Path("s.json");
  const Result result = Run({.arguments = Generate({"--output-ids", ids, "--stats-json", stats}),
                             .input_closed = true,
                             .output_path = kClosed,
                             .error_path = kClosed});
  CHECK(result.exit_code == 1);
  CHECK(ReadJson(ids).size() == 5);
  CHECK(ReadJson(stats)["generated_tokens"] == 5);
  CHECK(folder.List() == std::vector<std::string>{"i.json", "s.json"});
  const Result no_input = Run({.arguments = {"generate", "-m", kDemoModel, "-f", "-"}, .input_closed = true});
  CHECK(no_input.exit_code == 1);
  CHECK(Contains(no_input.err, "stdin: cannot be read"));
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
