// Ctrl-C, SIGTERM, SIGHUP: a run ends cleanly with what was made so far; exit code 128 and the signal (Ctrl-C: 130).
#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <thread>

#include "tests/cli/process.h"
#include "tests/cli/test_files.h"

namespace triforce {
namespace {

constexpr int kInterrupted = 130;

// Some 27,000 tokens of a book: seconds of prefill.
std::string LongPrompt(const TemporaryFolder& folder) {
  const std::string book = ReadText(kBook).substr(0, 95000);
  return folder.Write("prompt.txt", book.substr(0, book.rfind(' ')));
}

void CheckOnlyFiles(const TemporaryFolder& folder, const std::vector<std::string>& names) {
  CHECK(folder.List() == names);
}

TEST_CASE("while decoding: the text so far, and valid files that agree with it") {
  for (int signal : {SIGINT, SIGTERM, SIGHUP}) {
    CAPTURE(signal);
    const TemporaryFolder folder;
    const std::string stats_path = folder.Path("s.json"), ids_path = folder.Path("i.json");
    Process process({.arguments = {"generate", "-m", kDemoModel, "-p", "The old", "-n", "-1", "--ignore-eos", "-s", "1",
                                   "--no-display-prompt", "--stats-json", stats_path, "--output-ids", ids_path}});
    REQUIRE(process.WaitForOutput("e"));
    process.Signal(signal);
    const Result result = process.Wait();
    CHECK(result.exit_code == 128 + signal);
    CHECK(result.out.size() > 1);
    const nlohmann::json stats = ReadJson(stats_path);
    CHECK(stats["finish_reason"] == "interrupted");
    CHECK(stats["generated_tokens"].get<int64_t>() > 0);
    CHECK(stats["ids"].size() == stats["generated_tokens"]);
    CHECK(stats["ids"] == ReadJson(ids_path));
    CHECK(result.err.find("decode") != std::string::npos);
    CheckOnlyFiles(folder, {"i.json", "s.json"});
  }
}

TEST_CASE("during prefill: no text, and valid files that say so") {
  const TemporaryFolder folder;
  const std::string stats_path = folder.Path("s.json");
  Process process({.arguments = {"generate", "-m", kDemoModel, "-f", LongPrompt(folder), "-n", "5",
                                 "--no-display-prompt", "--stats-json", stats_path}});
  REQUIRE(process.WaitForErrors("prefill"));
  process.Signal(SIGINT);
  const Result result = process.Wait();
  CHECK(result.exit_code == kInterrupted);
  CHECK(result.out == "");
  const nlohmann::json stats = ReadJson(stats_path);
  CHECK(stats["generated_tokens"] == 0);
  CHECK(stats["ids"].empty());
  CHECK(stats["finish_reason"] == "interrupted");
  CheckOnlyFiles(folder, {"prompt.txt", "s.json"});
}

TEST_CASE("during eval: no result, and no half of the logits") {
  const TemporaryFolder folder;
  Process process({.arguments = {"eval", "-m", kDemoModel, "-f", LongPrompt(folder), "--logits-out",
                                 folder.Path("l.safetensors")}});
  REQUIRE(process.WaitForErrors("eval"));
  process.Signal(SIGINT);
  const Result result = process.Wait();
  CHECK(result.exit_code == kInterrupted);
  CHECK(result.out == "");
  CheckOnlyFiles(folder, {"prompt.txt"});
}

TEST_CASE("between samples: those that were made are kept") {
  const TemporaryFolder folder;
  const std::string ids_path = folder.Path("i.json");
  Process process({.arguments = {"generate", "-m", kDemoModel, "-p", "The old", "-n", "20", "--samples", "100000",
                                 "--output-ids", ids_path}});
  REQUIRE(process.WaitForOutput("sample 3 of"));
  process.Signal(SIGINT);
  CHECK(process.Wait().exit_code == kInterrupted);
  CHECK(ReadJson(ids_path).size() >= 2);
}

TEST_CASE("while a FIFO is waited for, as a prompt or a config file") {
  const TemporaryFolder folder;
  const std::string fifo = folder.Path("fifo");
  REQUIRE(::mkfifo(fifo.c_str(), 0600) == 0);
  for (const std::vector<std::string>& arguments :
       std::vector<std::vector<std::string>>{{"generate", "-m", kDemoModel, "-f", fifo},
                                             {"generate", "-m", kDemoModel, "--prompts", fifo},
                                             {"bench", "-m", kDemoModel, "-f", fifo},
                                             {"generate", "-m", kDemoModel, "-p", "x", "--config", fifo}}) {
    CAPTURE(arguments.back());
    Process process({.arguments = arguments});
    int writer = -1;  // there is none as long as nobody reads
    for (int i = 0; i < 10000 && writer < 0; ++i) {
      writer = ::open(fifo.c_str(), O_WRONLY | O_NONBLOCK | O_CLOEXEC);
      if (writer < 0) std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
    REQUIRE(writer >= 0);
    process.Signal(SIGINT);
    const Result result = process.Wait();
    CHECK(result.exit_code == kInterrupted);
    CHECK(result.out == "");
    ::close(writer);
  }
}

TEST_CASE("the second signal ends it at once, whatever it waits for") {
  Process process(
      {.arguments = {"generate", "-m", kDemoModel, "-f", "-"}, .input = "typed so far", .input_stays_open = true});
  // Wherever it is when they come: before it takes them over, the first one is the end.
  process.Signal(SIGTERM);
  process.Signal(SIGINT);
  const int exit_code = process.Wait().exit_code;
  CHECK((exit_code == kInterrupted || exit_code == 128 + SIGTERM));
}

}  // namespace
}  // namespace triforce
