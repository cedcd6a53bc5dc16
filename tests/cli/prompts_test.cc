// generate --prompts: several texts side by side, as a person runs it.
#include <doctest/doctest.h>

#include <sstream>
#include <string>
#include <vector>

#include "tests/cli/process.h"
#include "tests/cli/test_files.h"

namespace triforce {
namespace {

constexpr char kDraft[] = "models/demo/draft";

std::string BookPart(size_t begin, size_t length) { return ReadText(kBook).substr(begin, length); }

std::vector<nlohmann::json> Lines(const std::string& text) {
  std::vector<nlohmann::json> lines;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) lines.push_back(nlohmann::json::parse(line));
  return lines;
}

TEST_CASE("a line for each prompt, with the text that it has alone") {
  const TemporaryFolder folder;
  std::string prompts;
  for (size_t i = 0; i < 4; ++i) {
    prompts += nlohmann::json{{"prompt", BookPart(2000 * i, 1500 + 700 * i)}, {"predict", 20 + 5 * i}}.dump() + "\n\n";
  }
  prompts += "{\"ids\": [5, 6, 7]}\n";
  const std::string file = folder.Write("prompts.jsonl", prompts);
  const std::vector<std::string> common = {"-m", kDemoModel, "-M", kDraft, "--temp", "0", "--ignore-eos"};
  const auto run = [&](std::vector<std::string> arguments) {
    arguments.insert(arguments.end(), common.begin(), common.end());
    return Run(arguments);
  };
  const Result result = run({"generate", "--prompts", file, "--batch", "2", "-n", "9", "--output-ids",
                             folder.Path("ids"), "--stats-json", folder.Path("stats")});
  CAPTURE(result.err);
  REQUIRE(result.exit_code == 0);
  const std::vector<nlohmann::json> lines = Lines(result.out);
  REQUIRE(lines.size() == 5);
  const nlohmann::json ids = ReadJson(folder.Path("ids")), stats = ReadJson(folder.Path("stats"));
  CHECK(stats["batch"] == 2);
  CHECK(stats["generated_tokens"] == 20 + 25 + 30 + 35 + 9);
  for (const nlohmann::json& line : lines) {
    const size_t i = line["index"].get<size_t>();
    CAPTURE(i);
    CHECK(line["finish_reason"] == "length");
    CHECK(line["ids"] == ids[i]);
    CHECK(line["ids"].size() == (i < 4 ? 20 + 5 * i : 9));
    if (i == 4) continue;
    const Result alone = run({"generate", "-p", BookPart(2000 * i, 1500 + 700 * i), "-n", std::to_string(20 + 5 * i),
                              "--no-display-prompt", "--output-ids", folder.Path("alone"), "--spec", "none"});
    CHECK(ReadJson(folder.Path("alone")) == ids[i]);
    CHECK(alone.out == line["text"].get<std::string>() + "\n");
  }
}

TEST_CASE("what is wrong with a file of prompts is said with the line") {
  const TemporaryFolder folder;
  const auto error_of = [&](const std::string& text, std::vector<std::string> more = {}) {
    std::vector<std::string> arguments = {"generate", "-m", kDemoModel, "--prompts", folder.Write("p", text)};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const Result result = Run(arguments);
    CHECK(result.exit_code == (more.empty() ? 1 : 2));
    CHECK(result.out.empty());
    return result.err;
  };
  CHECK(Contains(error_of("{\"prompt\": \"a\"}\nnonsense\n"), "line 2"));
  CHECK(Contains(error_of("{\"prompt\": 3}"), "expected a string"));
  CHECK(Contains(error_of("{\"prompt\": \"\"}"), "empty prompt"));
  CHECK(Contains(error_of("{\"text\": \"a\"}"), "found \"text\""));
  CHECK(Contains(error_of("{\"ids\": [4096]}"), "entry 0"));
  CHECK(Contains(error_of("{\"ids\": [1], \"prompt\": \"a\"}"), "one of them"));
  CHECK(Contains(error_of("\n \n"), "has no prompts"));
  const std::string too_long = nlohmann::json{{"prompt", ReadText(kBook)}}.dump();
  CHECK(Contains(error_of("{\"prompt\": \"a\"}\n\n" + too_long + "\n"), "line 3: prompt: has 50295 tokens"));
  const Result too_small =
      Run({"generate", "-m", kDemoModel, "-c", "3", "--prompts", folder.Write("p", "{\"prompt\": \"a b c d\"}")});
  CHECK(too_small.exit_code == 1);
  const std::string& wrapped = too_small.err;
  CHECK(Contains(wrapped, "line 1: prompt: has "));
  CHECK(Contains(wrapped, "\n  "));  // the remedy is a line of its own
  CHECK_FALSE(Contains(wrapped, "\\n"));
  CHECK(Contains(error_of("{\"prompt\": \"a\"}", {"-p", "b"}), "--prompts"));
}

}  // namespace
}  // namespace triforce
