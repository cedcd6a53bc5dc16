// bench, as a person runs it; what it measures is not looked at, but what it does.
#include <doctest/doctest.h>

#include <algorithm>
#include <csignal>

#include "offload/rates.h"
#include "offload/rates_file.h"
#include "tests/cli/process.h"
#include "tests/cli/test_files.h"

namespace triforce {
namespace {

constexpr char kDraft[] = "models/demo/draft";

// A short run, on rates that need not be measured. `folder` gets the rates.
std::vector<std::string> Bench(const TemporaryFolder& folder, const std::vector<std::string>& more) {
  WriteRates(folder.Path("rates"), "cpu", AssumedCpuRates());
  std::vector<std::string> arguments = {
      "bench",         "-m", kDemoModel, "-n", "12",      "--device-memory",   "1G", "--host-memory", "1G",
      "--resident-kv", "0",  "--warmup", "0",  "--rates", folder.Path("rates")};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return arguments;
}

TEST_CASE("all modes, repeats and sweeps, in every output") {
  const TemporaryFolder folder;
  const Result result = Run(Bench(folder, {"--draft-model",
                                           kDraft,
                                           "-f",
                                           kBook,
                                           "-f",
                                           std::string(kBook) + "@700",
                                           "--contexts",
                                           "600,300",
                                           "--seeds",
                                           "1",
                                           "--repeats",
                                           "2",
                                           "--gamma",
                                           "4",
                                           "--draft-gamma",
                                           "1",
                                           "--link-ratio",
                                           "10",
                                           "--temps",
                                           "0.5",
                                           "--budgets",
                                           "64",
                                           "--json",
                                           folder.Path("json"),
                                           "--csv",
                                           folder.Path("csv"),
                                           "--html",
                                           folder.Path("html")}));
  CAPTURE(result.err);
  REQUIRE(result.exit_code == 0);
  for (const char* part : {"300 tokens: time per token", "600 tokens: where it goes", "plain resident",
                           "plain offloaded", "hierarchy with streaming", "hierarchy with h2o", "auto: ", "ngram",
                           "hierarchy, temperature 0.5", "hierarchy, budget 64", "of the link's limit"}) {
    CAPTURE(part);
    CHECK_MESSAGE(Contains(result.out, part), result.out);
  }
  CHECK_FALSE(Contains(result.out, "did NOT give the same tokens"));

  const nlohmann::json json = ReadJson(folder.Path("json"));
  constexpr size_t kConfigurations = 11, kRuns = kConfigurations * 2 * 2 * 2;
  CHECK(json["complete"] == true);
  CHECK(json["rows"].size() == 2 * kConfigurations);
  REQUIRE(json["runs"].size() == kRuns);
  for (const nlohmann::json& run : json["runs"]) CHECK(run["ids"].size() == 12);
  for (const nlohmann::json& row : json["rows"]) {
    CAPTURE(row.dump());
    CHECK(row["repeats_equal"] == true);
    CHECK(row["expected_ms_per_token"] > 0);
    const std::string mode = row["mode"];
    CHECK((row["streamed_bytes_per_verify_planned"] > 0) == (mode != "plain resident" && row["context"] == 600));
    if (mode.starts_with("hierarchy")) CHECK(row["levels"].size() == 2);
    if (row["configuration"] == mode) CHECK(row["budget"] <= 60);  // a tenth of the prompt
  }
  // Side by side: each mode's turn before the next repeat.
  CHECK(json["runs"][0]["configuration"] == "plain resident");
  CHECK(json["runs"][1]["configuration"] == "plain offloaded");
  CHECK(json["runs"][kConfigurations]["configuration"] == "plain resident");
  CHECK(json["runs"][kConfigurations]["repeat"] == 2);

  const std::string csv = ReadText(folder.Path("csv"));
  CHECK(std::count(csv.begin(), csv.end(), '\n') == kRuns + 1);
  CHECK(csv.starts_with("context,prompt,seed,"));
  CHECK(Contains(csv, "The_Time_Machine.txt@700"));

  const std::string html = ReadText(folder.Path("html"));
  CHECK(html.starts_with("<!doctype html>"));
  CHECK(html.ends_with("</html>\n"));
  for (const char* part : {"Time per token by context", "Acceptance by temperature", "Acceptance by budget",
                           "Time per round by part", "--link-ratio 10", "prefers-color-scheme"}) {
    CAPTURE(part);
    CHECK(Contains(html, part));
  }
}

TEST_CASE("without a draft, modes that need one are left out and named; named, they are refused") {
  const TemporaryFolder folder;
  const Result result = Run(Bench(folder, {"-f", kBook, "--contexts", "300", "--seeds", "1"}));
  CAPTURE(result.err);
  CHECK(result.exit_code == 0);
  CHECK(Contains(result.err, "left out for want of --draft-model: draft, hierarchy, hierarchy with streaming"));
  CHECK_FALSE(Contains(result.out, "hierarchy"));
  CHECK(Contains(result.out, "retrieval"));
}

TEST_CASE("greedy, all modes give the same tokens from one shared prefill") {
  const TemporaryFolder folder;
  const Result result = Run(Bench(folder, {"--draft-model", kDraft, "-f", kBook, "--contexts", "1200", "--seeds", "1",
                                           "--temp", "0", "--json", folder.Path("json")}));
  CAPTURE(result.err);
  REQUIRE(result.exit_code == 0);
  const nlohmann::json runs = ReadJson(folder.Path("json"))["runs"];
  REQUIRE(runs.size() == 9);
  for (const nlohmann::json& run : runs) CHECK(run["ids"] == runs[0]["ids"]);
}

TEST_CASE("what cannot be measured is refused with its reason") {
  const TemporaryFolder folder;
  const std::string short_text = folder.Write("short", "The old man and the sea.");
  const auto refused = [&](const std::vector<std::string>& more, int exit_code, const std::string& reason) {
    const Result result = Run(Bench(folder, more));
    CAPTURE(result.err);
    CHECK(result.exit_code == exit_code);
    CHECK(result.out == "");
    CHECK(Contains(result.err, reason));
  };
  refused({}, 2, "--file: is missing");
  refused({"-f", kBook, "--modes", "faster"}, 2, "found \"faster\", expected one of plain resident");
  refused({"-f", kBook, "--modes", "ngram,hierarchy"}, 2, "needs a draft model");
  refused({"-f", kBook, "--temps", "0.5"}, 2, "needs a draft model");
  refused({"-f", "/no/such/file"}, 1, "/no/such/file");
  refused({"-f", short_text}, 1, "expected 4096 of --contexts at least");
  refused({"-f", std::string(kBook) + "@99999999"}, 1, "begins at token 99999999");
  refused({"-f", kBook, "--contexts", "10"}, 2, "--contexts");
  refused({"-f", kBook, "--contexts", "40000000"}, 1, "positions of the model");
  refused({"-f", kBook, "--link-ratio", "40", "--link-gbps", "1"}, 2, "contradicts --link-gbps");
  for (const char* flag : {"--json", "--csv", "--html"}) {
    refused({"-f", kBook, flag, "/no/such/folder/file"}, 1, "/no/such/folder/file");
  }
}

TEST_CASE("interrupted, it gives what was measured so far") {
  const TemporaryFolder folder;
  Process process({.arguments = Bench(folder, {"-f", kBook, "--contexts", "300", "--modes", "plain resident",
                                               "--repeats", "10000000", "-n", "40", "--csv", folder.Path("csv")})});
  REQUIRE(process.WaitForErrors("repeat"));  // the first turn
  process.Signal(SIGINT);
  const Result result = process.Wait();
  CHECK(result.exit_code == 130);
  // Nothing, where not even that turn had ended.
  if (result.out.empty()) return;
  CHECK(Contains(result.out, "Interrupted: "));
  CHECK(ReadText(folder.Path("csv")).starts_with("context,"));
}

}  // namespace
}  // namespace triforce
