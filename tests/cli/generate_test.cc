// triforce generate: what it prints and what it writes.
#include <doctest/doctest.h>

#include <algorithm>

#include "tests/cli/process.h"
#include "tests/cli/test_files.h"

namespace triforce {
namespace {

constexpr char kPrompt[] = "The old man";

struct Generated {
  Result result;
  nlohmann::json stats;
  nlohmann::json ids;
};

// Runs generate with `arguments` and statistics and ids written.
Generated Generate(std::vector<std::string> arguments) {
  const TemporaryFolder folder;
  arguments.insert(arguments.begin(), "generate");
  arguments.insert(arguments.end(), {"--stats-json", folder.Path("s.json"), "--output-ids", folder.Path("i.json")});
  Generated run{Run(arguments), {}, {}};
  CAPTURE(run.result.err);
  REQUIRE(run.result.exit_code == 0);
  run.stats = ReadJson(folder.Path("s.json"));
  run.ids = ReadJson(folder.Path("i.json"));
  return run;
}

// On the demo model, ten tokens of a fixed seed unless `more` says otherwise.
Generated GenerateText(const std::vector<std::string>& more) {
  std::vector<std::string> arguments = {"-m", kDemoModel, "-p", kPrompt};
  if (std::find(more.begin(), more.end(), "-n") == more.end()) arguments.insert(arguments.end(), {"-n", "10"});
  if (std::find(more.begin(), more.end(), "-s") == more.end()) arguments.insert(arguments.end(), {"-s", "1"});
  arguments.insert(arguments.end(), more.begin(), more.end());
  return Generate(arguments);
}

TEST_CASE("greedy tokens are those of the oracle, prompt by ids") {
  for (const char* model : {kTinyModel, "tests/data/tiny/sharded", "tests/data/tiny/mqa"}) {
    CAPTURE(model);
    const TemporaryFolder folder;
    const TinyGolden golden = ReadTinyGolden(model);
    const std::string ids = folder.Write("ids.json", nlohmann::json(golden.input_ids).dump());
    const Generated run = Generate({"-m", model, "--ids", ids, "--temp", "0", "--kv-type", "f32", "--ignore-eos", "-n",
                                    std::to_string(golden.greedy.size())});
    CHECK(run.ids == nlohmann::json(golden.greedy));
    CHECK(run.stats["prompt_tokens"] == golden.input_ids.size());
  }
}

TEST_CASE("statistics have every field, and agree with the ids") {
  const Generated run = GenerateText({"--ignore-eos"});
  CHECK(run.stats["prompt_tokens"] == 4);  // BOS and three words
  CHECK(run.stats["generated_tokens"] == 10);
  CHECK(run.stats["ids"] == run.ids);
  CHECK(run.ids.size() == 10);
  CHECK(run.stats["seed"] == 1);
  CHECK(run.stats["finish_reason"].is_string());
  CHECK(run.stats["prefill_ms"].get<double>() > 0);
  CHECK(run.stats["decode_ms"].get<double>() > 0);
  CHECK(run.stats["ms_per_token"].get<double>() == doctest::Approx(run.stats["decode_ms"].get<double>() / 10));
  CHECK(run.stats["peak_bytes"]["device"].get<int64_t>() > 10 << 20);  // the weights alone
  CHECK(run.stats["peak_bytes"]["host"].get<int64_t>() >= 0);
  for (const char* key : {"host_to_device", "device_to_host", "disk_read"}) {
    CHECK(run.stats["bytes"][key].is_number_unsigned());
  }
  CHECK(run.stats["levels"].is_array());
}

TEST_CASE("the summary with rates of prefill and decoding goes to standard error") {
  const Result result = GenerateText({}).result;
  for (const char* part : {"prefill", "decode", "ms per token", "tokens/s"}) CHECK(Contains(result.err, part));
  CHECK(!Contains(result.out, "tokens/s"));
  CHECK(!Contains(result.err, "\x1b"));  // no terminal, no bars
}

TEST_CASE("the prompt stands before its continuation, unless it is not wanted") {
  const std::string whole = GenerateText({}).result.out;
  const std::string continuation = GenerateText({"--no-display-prompt"}).result.out;
  CHECK(whole == kPrompt + continuation);
  CHECK(continuation.ends_with("\n"));
  CHECK(continuation.size() > 5);
}

TEST_CASE("a prompt is the same typed, in a file and on standard input") {
  const TemporaryFolder folder;
  const std::string text = "It was a dark night \xe2\x80\x94 \xe2\x80\x9cna\xc3\xafve\xe2\x80\x9d";
  const std::vector<std::string> base = {"generate", "-m", kDemoModel, "-n", "8", "-s", "3"};
  const auto with = [&](std::vector<std::string> more, const std::string& input) {
    more.insert(more.begin(), base.begin(), base.end());
    const Result result = Run({.arguments = more, .input = input});
    CHECK(result.exit_code == 0);
    return result.out;
  };
  const std::string typed = with({"-p", text}, "");
  CHECK(typed.starts_with(text));
  CHECK(with({"-f", folder.Write("p.txt", text)}, "") == typed);
  CHECK(with({"-f", "-"}, text) == typed);
}

TEST_CASE("equal seeds give equal tokens, others do not, and a random seed can be had again") {
  const nlohmann::json first = GenerateText({"-n", "20", "--temp", "1"}).ids;
  CHECK(GenerateText({"-n", "20", "--temp", "1"}).ids == first);
  CHECK(GenerateText({"-n", "20", "--temp", "1", "-s", "2"}).ids != first);
  const std::vector<std::string> base = {"-m", kDemoModel, "-p", kPrompt, "-n", "20", "--temp", "1"};
  const Generated random = Generate(base);
  std::vector<std::string> again = base;
  again.insert(again.end(), {"-s", random.stats["seed"].dump()});
  CHECK(Generate(again).ids == random.ids);
  CHECK(Generate(base).stats["seed"] != random.stats["seed"]);
}

TEST_CASE("the number of threads does not change the tokens") {
  CHECK(GenerateText({"-t", "1", "-n", "20"}).ids == GenerateText({"-t", "3", "-n", "20"}).ids);
}

TEST_CASE("a stop string ends the text before it, wherever tokens are cut") {
  const std::string whole = GenerateText({"-n", "40", "--temp", "0", "--no-display-prompt"}).result.out;
  REQUIRE(whole.size() > 30);
  const std::string stop = whole.substr(20, 3);
  const Generated run =
      GenerateText({"-n", "40", "--temp", "0", "--no-display-prompt", "--stop", "in no text", "--stop", stop});
  CHECK(run.result.out == whole.substr(0, whole.find(stop)) + "\n");
  CHECK(run.stats["finish_reason"] == "stop_string");
}

TEST_CASE("samples are independent continuations of one prefill") {
  const Generated greedy = GenerateText({"--temp", "0"});
  const Generated same = GenerateText({"--temp", "0", "--samples", "3"});
  CHECK(same.ids == nlohmann::json::array({greedy.ids, greedy.ids, greedy.ids}));
  const Generated one = GenerateText({"--temp", "1"});
  const Generated three = GenerateText({"--temp", "1", "--samples", "3", "--ignore-eos"});
  REQUIRE(three.stats["samples"].size() == 3);
  CHECK(three.stats["ids"] == three.ids[0]);
  CHECK(three.stats["prompt_tokens"] == 4);
  for (int k = 0; k < 3; ++k) {
    CHECK(three.stats["samples"][k]["ids"] == three.ids[k]);
    CHECK(Contains(three.result.out, "sample " + std::to_string(k + 1) + " of 3"));
  }
  CHECK(three.ids[0] == one.ids);
  CHECK(three.ids[0] != three.ids[1]);
  CHECK(three.ids[1] != three.ids[2]);
}

TEST_CASE("-n 0 prefills only; -n -1 fills the context") {
  CHECK(GenerateText({"-n", "0"}).stats["generated_tokens"] == 0);
  const Generated full = GenerateText({"-n", "-1", "-c", "20", "--ignore-eos"});
  CHECK(full.stats["generated_tokens"] == 16);
  CHECK(full.stats["finish_reason"] == "context_full");
  CHECK(GenerateText({"-n", "50", "-c", "20", "--ignore-eos"}).stats["generated_tokens"] == 16);
}

TEST_CASE("penalties change what is said") {
  const nlohmann::json plain = GenerateText({"--temp", "0", "-n", "40"}).ids;
  CHECK(GenerateText({"--temp", "0", "-n", "40", "--repeat-penalty", "1.5"}).ids != plain);
  CHECK(GenerateText({"--temp", "0", "-n", "40", "--frequency-penalty", "2"}).ids != plain);
  CHECK(GenerateText({"--temp", "0", "-n", "40", "--presence-penalty", "2"}).ids != plain);
}

// The tiny model's greedy tokens with `files` added to its directory.
Generated GenerateTiny(const std::map<std::string, nlohmann::json>& files, const std::vector<std::string>& more) {
  const TemporaryFolder folder;
  const std::string model = folder.CopyModel(kTinyModel);
  for (const auto& [name, content] : files) folder.Write("model/" + name, content.dump());
  const std::string ids = folder.Write("ids.json", nlohmann::json(ReadTinyGolden(kTinyModel).input_ids).dump());
  std::vector<std::string> arguments = {"-m", model, "--ids", ids, "--kv-type", "f32", "-n", "8", "-s", "1"};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return Generate(arguments);
}

TEST_CASE("generation_config.json gives the defaults, and flags win over them singly") {
  const std::vector<int64_t> golden = ReadTinyGolden(kTinyModel).greedy;
  const nlohmann::json greedy = std::vector<int64_t>(golden.begin(), golden.begin() + 8);
  const nlohmann::json no_sampling = {{"do_sample", false}, {"temperature", 0.9}};
  CHECK(GenerateTiny({{"generation_config.json", no_sampling}}, {}).ids == greedy);
  CHECK(GenerateTiny({{"generation_config.json", no_sampling}}, {"--temp", "5"}).ids != greedy);
  const nlohmann::json sampling = {{"do_sample", true}, {"temperature", 5.0}, {"top_k", 0}};
  CHECK(GenerateTiny({{"generation_config.json", sampling}}, {}).ids != greedy);
  CHECK(GenerateTiny({{"generation_config.json", sampling}}, {"--top-k", "1"}).ids == greedy);
  CHECK(GenerateTiny({{"generation_config.json", sampling}}, {"--temp", "0"}).ids == greedy);
}

TEST_CASE("end-of-sequence tokens end the text, also those of generation_config.json, unless ignored") {
  const std::vector<int64_t> greedy = ReadTinyGolden(kTinyModel).greedy;
  const int64_t end = greedy[3];
  const auto length = static_cast<size_t>(std::find(greedy.begin(), greedy.end(), end) - greedy.begin());
  const nlohmann::json generation = {{"do_sample", false}, {"eos_token_id", {end, 2}}};
  const Generated ended = GenerateTiny({{"generation_config.json", generation}}, {});
  CHECK(ended.ids.size() == length);
  CHECK(GenerateTiny({{"generation_config.json", generation}}, {"--ignore-eos"}).ids.size() == 8);
  nlohmann::json config = ReadJson(std::string(kTinyModel) + "/config.json");
  config["eos_token_id"] = end;
  CHECK(GenerateTiny({{"config.json", config}}, {"--temp", "0"}).ids.size() == length);
}

TEST_CASE("the trace is a Chrome trace with spans of the ops") {
  const TemporaryFolder folder;
  const std::string trace = folder.Path("trace.json");
  GenerateText({"--trace", trace});
  const nlohmann::json json = ReadJson(trace);
  const nlohmann::json& events = json.is_array() ? json : json["traceEvents"];
  bool has_linear = false;
  for (const nlohmann::json& event : events) has_linear |= event.value("name", "") == "linear" && event["ph"] == "X";
  CHECK(has_linear);
}

TEST_CASE("a prompt of ids is shown as text where there is a tokenizer") {
  const TemporaryFolder folder;
  const std::string ids = folder.Write("ids.json", "[1, 429, 288, 4010, 4025, 924, 4045]");  // Hello, world!
  const Generated run = Generate({"-m", kDemoModel, "--ids", ids, "-n", "5"});
  CHECK(run.stats["prompt_tokens"] == 7);
  CHECK(run.result.out.size() > 1);
}

}  // namespace
}  // namespace triforce
