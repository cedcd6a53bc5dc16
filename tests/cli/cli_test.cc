// triforce as a person types it.
#include <doctest/doctest.h>
#include <signal.h>

#include <cmath>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "models/json_file.h"
#include "models/safetensors.h"
#include "models/scratch_directory.h"
#include "tests/cli/run_triforce.h"

namespace triforce {
namespace {

const std::string kDemo = "models/demo/target";
const std::string kTiny = "tests/data/tiny/plain";

const ScratchDirectory& Directory() {
  static const ScratchDirectory directory;
  return directory;
}

std::string Path(const std::string& name) { return Directory().path() + "/" + name; }

void CheckSays(const std::string& message, std::initializer_list<std::string_view> parts) {
  CHECK(HasAll(message, parts));
}

// generate on the demo model with a seed, and what else.
std::vector<std::string> Generate(std::vector<std::string> more) {
  std::vector<std::string> arguments{"generate", "--model", kDemo, "--seed", "1", "--no-display-prompt"};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return arguments;
}

nlohmann::json JsonIn(const std::string& path) { return ParseJson(ReadFile(path), path); }

TEST_CASE("help says what there is; no or unknown subcommands and flags are usage errors") {
  const Outcome help = RunTriforce({"--help"});
  CHECK(help.exit_code == 0);
  CheckSays(help.out, {"generate", "eval", "inspect"});
  CheckSays(RunTriforce({"generate", "--help"}).out, {"--ctx-size", "TRIFORCE_CTX_SIZE", "--config"});
  CHECK(RunTriforce({}).exit_code == 2);
  CHECK(RunTriforce({"sing"}).exit_code == 2);
  CHECK(RunTriforce({"generate", "--nonsense"}).exit_code == 2);
  CHECK(RunTriforce(Generate({"-p", "x", "--predict", "many"})).exit_code == 2);
  CHECK(RunTriforce(Generate({"-p", "x", "--kv-type", "f8"})).exit_code == 2);
  CHECK(RunTriforce(Generate({"-p", "x", "--device-memory", "lots"})).exit_code == 2);
  const Outcome no_model = RunTriforce({"generate", "-p", "x"});
  CHECK(no_model.exit_code == 2);
  CheckSays(no_model.err, {"triforce: --model: is missing"});
  CheckSays(RunTriforce(Generate({"-p", "x", "--temp", "-1"})).err, {"--temp: found -1, expected 0"});
  CheckSays(RunTriforce(Generate({"-p", "x", "-f", "y"})).err, {"found 2 of --prompt, --file and --ids"});
}

TEST_CASE("text goes to stdout, everything else to stderr; the same seed gives the same text") {
  const Outcome first = RunTriforce(Generate({"-p", "It was the best of times", "-n", "20"}));
  CHECK(first.exit_code == 0);
  CHECK(first.out.size() > 20);
  CheckSays(first.err, {"prefill: 8 tokens", "decode: 20 tokens", "ms per token", "tokens/s"});
  CHECK(RunTriforce(Generate({"-p", "It was the best of times", "-n", "20"})).out == first.out);
  const Outcome shown = RunTriforce({"generate", "-m", kDemo, "-s", "1", "-p", "It was the best of times", "-n", "20"});
  CHECK(shown.out == "It was the best of times" + first.out);
}

TEST_CASE("the prompt from a file and from stdin") {
  Directory().Write("prompt.txt", "Once upon a time");
  const std::string expected = RunTriforce(Generate({"-p", "Once upon a time", "-n", "5"})).out;
  CHECK(RunTriforce(Generate({"-f", Path("prompt.txt"), "-n", "5"})).out == expected);
  CHECK(RunTriforce(Generate({"-f", "-", "-n", "5"}), {.standard_input = "Once upon a time"}).out == expected);
}

TEST_CASE("flags from the environment and from a file; the command line wins, then the environment") {
  Directory().Write("flags.toml", "predict = 3\nprompt = \"Once upon a time\"\n[eval]\nkv-type = \"f32\"\n");
  const auto generated = [](const std::vector<std::string>& arguments, const RunOptions& options = {}) {
    const Outcome outcome = RunTriforce(arguments, options);
    INFO(outcome.err);
    REQUIRE(outcome.exit_code == 0);
    return JsonIn(Path("stats.json")).at("generated_tokens").get<int>();
  };
  const std::vector<std::string> from_file =
      Generate({"--config", Path("flags.toml"), "--stats-json", Path("stats.json")});
  CHECK(generated(from_file) == 3);
  CHECK(generated(from_file, {.environment = {{"TRIFORCE_PREDICT", "4"}}}) == 4);
  std::vector<std::string> from_line = from_file;
  from_line.insert(from_line.end(), {"--predict", "5"});
  CHECK(generated(from_line, {.environment = {{"TRIFORCE_PREDICT", "4"}}}) == 5);
  CHECK(generated({"generate"}, {.environment = {{"TRIFORCE_CONFIG", Path("flags.toml")},
                                                 {"TRIFORCE_MODEL", kDemo},
                                                 {"TRIFORCE_NO_DISPLAY_PROMPT", "true"},
                                                 {"TRIFORCE_STATS_JSON", Path("stats.json")}}}) == 3);
  const auto refuse = [](const std::string& content) {
    Directory().Write("bad.toml", content);
    const Outcome outcome = RunTriforce(Generate({"--config", Path("bad.toml"), "-p", "x"}));
    CHECK(outcome.exit_code == 1);
    return outcome.err;
  };
  CheckSays(refuse("# one\npredikt = 3\n"), {"bad.toml:2: predikt: is no flag"});
  CheckSays(refuse("predict = \"many\"\n"), {"bad.toml:1: predict"});
  CheckSays(refuse("predict = \n"), {"bad.toml:1"});
  CheckSays(RunTriforce(Generate({"--config", Path("none.toml"), "-p", "x"})).err, {"none.toml"});
}

TEST_CASE("lists and switches from a file") {
  const std::string text = RunTriforce(Generate({"-p", "Once upon a time", "-n", "30"})).out;
  REQUIRE(text.size() > 20);
  const nlohmann::json stop = text.substr(10, 4);
  Directory().Write("stop.toml", "stop = [" + stop.dump() + ", \"@@\"]\nno-display-prompt = true\n");
  const Outcome stopped = RunTriforce(
      {"generate", "-m", kDemo, "-s", "1", "--config", Path("stop.toml"), "-p", "Once upon a time", "-n", "30"});
  CHECK(stopped.out == text.substr(0, text.find(stop.get<std::string>())) + "\n");
}

TEST_CASE("bad input: exit code 1, and what was found where") {
  const auto refuse = [](std::vector<std::string> more) {
    const Outcome outcome = RunTriforce(Generate(std::move(more)));
    CHECK(outcome.exit_code == 1);
    CHECK(outcome.out == "");
    return outcome.err;
  };
  CheckSays(refuse({"-p", ""}), {"prompt: is empty"});
  CheckSays(refuse({"-p", "ab\xff"}), {"not valid UTF-8 at byte 2 (0xff)"});
  CheckSays(refuse({"-p", "It was the best of times", "-c", "4"}), {"has 8 tokens, the context 4", "--ctx-size"});
  CheckSays(refuse({"-f", Path("no.txt")}), {"no.txt", "No such file"});
  CheckSays(refuse({"-p", "x", "--device-memory", "1M"}), {"needs", "bytes", "--device-memory"});
  CheckSays(refuse({"-p", "x", "--stats-json", "/no/such/folder/a.json"}),
            {"/no/such/folder/a.json", "cannot be written"});
  Directory().Write("ids.json", "[1, 5, 4096]");
  CheckSays(refuse({"--ids", Path("ids.json")}), {"ids.json: entry 2", "found 4096, expected an id from 0 to 4095"});
  Directory().Write("ids.json", "{\"a\": 1}");
  CheckSays(refuse({"--ids", Path("ids.json")}), {"ids.json", "expected a JSON list"});
  CheckSays(RunTriforce({"generate", "-m", "/no/model", "-p", "x"}).err, {"/no/model: is no directory"});
  CheckSays(RunTriforce({"generate", "-m", kTiny, "-p", "x"}).err, {"tokenizer.model: does not exist", "--ids"});
}

TEST_CASE("ids in, ids out, and the figures of the run") {
  Directory().Write("in.json", "[1, 17, 200, 33]");
  const Outcome outcome =
      RunTriforce({"generate", "-m", kTiny, "--ids", Path("in.json"), "-n", "6", "--temp", "0", "--ignore-eos",
                   "--output-ids", Path("out.json"), "--stats-json", Path("stats.json")});
  CHECK(outcome.exit_code == 0);
  CHECK(outcome.out == "");
  const nlohmann::json stats = JsonIn(Path("stats.json"));
  CHECK(stats.at("ids") == JsonIn(Path("out.json")));
  CHECK(stats.at("ids").size() == 6);
  CHECK(stats.at("prompt_tokens") == 4);
  CHECK(stats.at("generated_tokens") == 6);
  CHECK(stats.at("finish_reason") == "length");
  for (const char* field : {"prefill_ms", "decode_ms", "ms_per_token"}) CHECK(stats.at(field).get<double>() > 0);
  CHECK(stats.at("peak_bytes").at("device") > 300000);
  for (const char* field : {"host_to_device", "device_to_host", "disk_read"}) CHECK(stats.at("bytes").contains(field));
  CHECK(stats.at("levels").is_array());
}

TEST_CASE("several samples of one prompt differ, and each repeats") {
  const std::vector<std::string> arguments =
      Generate({"-p", "Once upon a time", "-n", "12", "--samples", "3", "--stats-json", Path("stats.json")});
  const Outcome first = RunTriforce(arguments);
  CheckSays(first.out, {"=== sample 1 of 3 ===", "=== sample 3 of 3 ==="});
  const nlohmann::json samples = JsonIn(Path("stats.json")).at("samples");
  REQUIRE(samples.size() == 3);
  CHECK(samples[0] != samples[1]);
  CHECK(samples[1] != samples[2]);
  CHECK(RunTriforce(arguments).out == first.out);
  CHECK(first.out.find(RunTriforce(Generate({"-p", "Once upon a time", "-n", "12"})).out) != std::string::npos);
}

TEST_CASE("Ctrl-C while text comes: ends with what was made so far, and with its files") {
  const Outcome outcome = RunTriforce(
      Generate({"-p", "Once upon a time", "-n", "-1", "--ignore-eos", "--stats-json", Path("stats.json")}),
      {.signal = SIGINT, .send_when = [](const std::string& out, const std::string&) { return out.size() > 100; }});
  CHECK(outcome.exit_code == 130);
  CHECK(outcome.out.size() > 100);
  CheckSays(outcome.err, {"decode:", "interrupted"});
  const nlohmann::json stats = JsonIn(Path("stats.json"));
  CHECK(stats.at("finish_reason") == "interrupted");
  CHECK(stats.at("ids").size() == stats.at("generated_tokens"));
}

TEST_CASE("Ctrl-C during prefill") {
  std::string book = ReadFile("models/demo/books/The_Time_Machine.txt").substr(0, 95000);
  Directory().Write("book.txt", book);
  const Outcome outcome = RunTriforce(
      Generate({"-f", Path("book.txt"), "-v"}),
      {.signal = SIGINT, .send_when = [](const std::string&, const std::string& err) { return !err.empty(); }});
  CHECK(outcome.exit_code == 130);
  CHECK(outcome.out == "");
}

TEST_CASE("eval: perplexity, and logits as the oracle has them") {
  const SafetensorsFile golden(kTiny + "/golden.safetensors");
  const TensorRecord& input = *golden.Find("input_ids");
  nlohmann::json ids;
  for (int64_t i = 0; i < input.elements(); ++i) {
    int64_t id = 0;
    std::memcpy(&id, input.data.data() + i * sizeof(id), sizeof(id));
    ids.push_back(id);
  }
  Directory().Write("golden.json", ids.dump());
  const Outcome outcome = RunTriforce({"eval", "-m", kTiny, "--ids", Path("golden.json"), "--kv-type", "f32",
                                       "--logits-out", Path("logits.safetensors"), "--stats-json", Path("stats.json")});
  CHECK(outcome.exit_code == 0);
  CheckSays(outcome.out, {"tokens 200", "perplexity"});
  const SafetensorsFile written(Path("logits.safetensors"));
  const TensorRecord& expected = *golden.Find("logits");
  const TensorRecord& found = *written.Find("logits");
  REQUIRE(found.shape == expected.shape);
  double most = 0;
  for (int64_t i = 0; i < found.elements(); ++i) {
    float a = 0, b = 0;
    std::memcpy(&a, found.data.data() + i * sizeof(a), sizeof(a));
    std::memcpy(&b, expected.data.data() + i * sizeof(b), sizeof(b));
    most = std::max(most, std::abs(static_cast<double>(a) - b));
  }
  CHECK(most < 1e-3);
  const nlohmann::json stats = JsonIn(Path("stats.json"));
  CHECK(stats.at("perplexity").get<double>() == doctest::Approx(std::exp(stats.at("nll").get<double>())));
}

// The oracle's mean negative log-likelihood for the same text: tests/data/demo/goldens.json.
TEST_CASE("eval: the demo target's likelihood of a book is transformers'") {
  const SafetensorsFile golden("tests/data/demo/target-1500.safetensors");
  const TensorRecord& input = *golden.Find("input_ids");
  nlohmann::json ids;
  for (int64_t i = 0; i < input.elements(); ++i) {
    int64_t id = 0;
    std::memcpy(&id, input.data.data() + i * sizeof(id), sizeof(id));
    ids.push_back(id);
  }
  Directory().Write("book.json", ids.dump());
  const Outcome outcome = RunTriforce(
      {"eval", "-m", kDemo, "--ids", Path("book.json"), "--kv-type", "f32", "--stats-json", Path("stats.json")});
  CHECK(outcome.exit_code == 0);
  const double expected = JsonIn("tests/data/demo/goldens.json").at("nll").at("target-1500");
  CHECK(JsonIn(Path("stats.json")).at("nll").get<double>() == doctest::Approx(expected).epsilon(1e-4));
}

TEST_CASE("inspect: what a directory holds, for people and for programs") {
  const Outcome table = RunTriforce({"inspect", "-m", kDemo});
  CHECK(table.exit_code == 0);
  CheckSays(table.out, {"5.3 million", "yarn", "32768 tokens", "4.00 KiB per token", "sentencepiece, 4096 pieces"});
  const nlohmann::json json = ParseJson(RunTriforce({"inspect", "-m", kTiny, "--json"}).out, "inspect");
  CHECK(json.at("kv_bytes_per_token_f16") == 2 * 3 * 64 * 2);
  CHECK(json.at("layers") == 3);
  CHECK_FALSE(json.contains("tokenizer"));
}

TEST_CASE("a trace is written, and is JSON") {
  CHECK(RunTriforce(Generate({"-p", "Once", "-n", "2", "--trace", Path("trace.json")})).exit_code == 0);
  const nlohmann::json trace = JsonIn(Path("trace.json"));
  CHECK(trace.at("traceEvents").size() > 50);
}

TEST_CASE("a disk that is full: the file and the reason") {
  const Outcome full = RunTriforce(Generate({"-p", "Once", "-n", "2", "--stats-json", "/dev/full"}));
  CHECK(full.exit_code == 1);
  CheckSays(full.err, {"/dev/full: cannot be written: No space left"});
}

}  // namespace
}  // namespace triforce
