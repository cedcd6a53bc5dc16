// Bad input: exit code 1, a message that names the place, what was found and what was expected, and nothing half-made.
#include <doctest/doctest.h>
#include <sys/stat.h>

#include <filesystem>
#include <utility>

#include "tests/cli/process.h"
#include "tests/cli/test_files.h"

namespace triforce {
namespace {

// Checks that `arguments` fail with exit code 1, no output, no file left, and all of `parts` in the message.
void CheckFails(std::vector<std::string> arguments, const std::vector<std::string>& parts,
                const std::string& input = "") {
  const TemporaryFolder folder;
  arguments.insert(arguments.end(), {"--stats-json", folder.Path("stats.json")});
  const Result result = Run({.arguments = arguments, .input = input});
  CHECK(result.exit_code == 1);
  CHECK(result.out == "");
  CHECK_MESSAGE(Contains("\n" + result.err, "\ntriforce: "), result.err);
  for (const std::string& part : parts) {
    CAPTURE(part);
    CHECK_MESSAGE(Contains(result.err, part), result.err);
  }
  CHECK(folder.List().empty());
}

TEST_CASE("an empty prompt") {
  const TemporaryFolder folder;
  CheckFails({"generate", "-m", kDemoModel, "-p", ""}, {"empty"});
  CheckFails({"generate", "-m", kDemoModel, "-f", folder.Write("empty.txt", "")}, {"empty.txt", "empty"});
  CheckFails({"generate", "-m", kDemoModel, "-f", "-"}, {"empty"});
  CheckFails({"generate", "-m", kTinyModel, "--ids", folder.Write("empty.json", "[]")}, {"empty"});
}

TEST_CASE("a prompt that is not UTF-8, with the offset of the byte") {
  const TemporaryFolder folder;
  CheckFails({"generate", "-m", kDemoModel, "-p", "abc\xff"}, {"byte 3", "ff"});
  CheckFails({"generate", "-m", kDemoModel, "-f", folder.Write("latin1.txt", "na\xefve")}, {"byte 2", "ef"});
  CheckFails({"generate", "-m", kDemoModel, "-f", "-"}, {"byte 1"}, "a\xe2\x80");  // cut within a character
  CheckFails({"generate", "-m", kDemoModel, "-p", "\xed\xa0\x80"}, {"byte 0"});    // a surrogate
  CheckFails({"eval", "-m", kDemoModel, "-p", "ab\xc0\xaf"}, {"byte 2"});          // an overlong form
}

TEST_CASE("a prompt longer than the context is not cut: both counts are told") {
  CheckFails({"generate", "-m", kDemoModel, "-p", "The old man", "-c", "3"}, {"4", "3", "--ctx-size"});
  CheckFails({"generate", "-m", kDemoModel, "-f", kBook}, {"50295", "32768"});
  CheckFails({"eval", "-m", kDemoModel, "-f", kBook}, {"50295", "32768"});
}

TEST_CASE("files that cannot be read") {
  CheckFails({"generate", "-m", kDemoModel, "-f", "no/such.txt"}, {"no/such.txt"});
  CheckFails({"generate", "-m", kTinyModel, "--ids", "no/such.json"}, {"no/such.json"});
  CheckFails({"generate", "-m", kDemoModel, "-f", "models/demo"}, {"models/demo"});
  CheckFails({"generate", "-m", "no/such/model", "-p", "x"}, {"no/such/model"});
}

// Weights of another vocabulary would be the next thing to be wrong.
TEST_CASE("a vocabulary that no law can be drawn from is refused before anything is loaded") {
  const TemporaryFolder folder;
  const std::string model = folder.CopyModel(kTinyModel);
  nlohmann::json config = ReadJson(model + "/config.json");
  config["vocab_size"] = (1 << 18) + 1;
  folder.Write("model/config.json", config.dump());
  CheckFails({"generate", "-m", model, "--ids", folder.Write("ids", "[1, 2]"), "-n", "1"},
             {"vocabulary: found 262145 tokens, expected at most 262144"});
}

TEST_CASE("ids that are no list of ids of the vocabulary") {
  const TemporaryFolder folder;
  const auto check = [&](const std::string& content, const std::vector<std::string>& parts) {
    CAPTURE(content);
    CheckFails({"generate", "-m", kTinyModel, "--ids", folder.Write("ids.json", content)}, parts);
  };
  check("{\"ids\": [1]}", {"ids.json", "list"});
  check("[1, 2", {"ids.json"});
  check("[1, 320]", {"ids.json", "1", "320", "319"});
  check("[1, 2, -1]", {"ids.json", "2", "-1", "319"});
  check("[1.5]", {"ids.json", "1.5"});
  check("[\"1\"]", {"ids.json"});
  check("[18446744073709551615]", {"ids.json", "18446744073709551615"});
}

TEST_CASE("a model directory that is incomplete or lies") {
  const auto check = [](const std::string& file, const std::string& content, const std::vector<std::string>& parts) {
    CAPTURE(file);
    const TemporaryFolder folder;
    const std::string model = folder.CopyModel(kTinyModel);
    const std::string ids = folder.Write("ids.json", "[1, 2, 3]");
    folder.Write("model/" + file, content);
    CheckFails({"generate", "-m", model, "--ids", ids}, parts);
    CheckFails({"eval", "-m", model, "--ids", ids}, parts);
  };
  nlohmann::json config = ReadJson(std::string(kTinyModel) + "/config.json");
  const std::string weights = ReadText(std::string(kTinyModel) + "/model.safetensors");
  check("config.json", "{", {"config.json"});
  check("model.safetensors", weights.substr(0, weights.size() - 1), {"model.safetensors"});
  check("model.safetensors", weights.substr(0, 4), {"model.safetensors"});
  check("model.safetensors", "", {"model.safetensors"});
  config["num_attention_heads"] = 0;
  check("config.json", config.dump(), {"config.json", "num_attention_heads", "0"});
  config["num_attention_heads"] = 4;
  config["num_key_value_heads"] = 3;
  check("config.json", config.dump(), {"config.json", "num_key_value_heads", "3"});
  config["num_key_value_heads"] = 4;
  config["intermediate_size"] = 161;
  check("config.json", config.dump(), {"model.safetensors", "161", "160"});
  config["intermediate_size"] = 160;
  config["model_type"] = "mamba";
  check("config.json", config.dump(), {"config.json", "mamba"});
}

TEST_CASE("text needs a tokenizer, ids do not") {
  const TemporaryFolder folder;
  CheckFails({"generate", "-m", kTinyModel, "-p", "x"}, {"tokenizer.model", "--ids"});
  const Result result =
      Run({"generate", "-m", kTinyModel, "--ids", folder.Write("ids.json", "[1, 2, 3]"), "-n", "2", "--temp", "0"});
  CHECK(result.exit_code == 0);
  CHECK(Contains(result.err, "tokenizer"));
}

TEST_CASE("--ids needs no tokenizer that can be read, nor one that fits") {
  const std::string target = ReadText("models/demo/target/tokenizer.model");  // 4,096 pieces for a vocabulary of 320
  const std::vector<std::pair<std::string, std::string>> tokenizers = {
      {target, "found 4096 pieces, expected at most 320"},
      {"IQ== 0\nIg== 1\n", "tiktoken"},
      {"version https://git-lfs.github.com/spec/v1\noid sha256:9b\n", "Git LFS pointer"},
      {"<!doctype html>", "web page"},
      {"", "no sentencepiece model"}};
  for (const auto& [tokenizer, reason] : tokenizers) {
    CAPTURE(reason);
    const TemporaryFolder folder;
    const std::string model = folder.CopyModel(kTinyModel);
    folder.Write("model/tokenizer.model", tokenizer);
    const TinyGolden golden = ReadTinyGolden(kTinyModel);
    const std::string ids = folder.Write("ids.json", nlohmann::json(golden.input_ids).dump());
    const std::vector<std::string> greedy =
        Words("-n 4 --temp 0 --kv-type f32 --output-ids " + folder.Path("out.json"));
    const Result result = Run(With({"generate", "-m", model, "--draft-model", model, "--ids", ids}, greedy));
    CHECK(result.exit_code == 0);
    CHECK(Contains(result.err, reason + (tokenizer == target ? ", config.json's vocab_size" : "")));
    CHECK(Contains(result.err, ": ids only, no text\n"));
    const std::vector<int64_t> expected(golden.greedy.begin(), golden.greedy.begin() + 4);
    CHECK(ReadJson(folder.Path("out.json")) == nlohmann::json(expected));
    if (tokenizer != target) continue;
    const Result eval = Run({"eval", "-m", model, "--ids", ids});
    CHECK(eval.exit_code == 0);
    CHECK_FALSE(Contains(eval.err, "tokenizer"));
    CHECK(Run({"inspect", "-m", model}).exit_code == 0);
    CheckFails({"generate", "-m", model, "-p", "x"}, {"tokenizer.model", reason});  // text does need one
  }
}

TEST_CASE("a pipe in place of a model's file is refused and not waited for") {
  for (const char* name : {"config.json", "generation_config.json", "tokenizer.model", "tokenizer_config.json",
                           "added_tokens.json", "model.safetensors"}) {
    CAPTURE(name);
    const TemporaryFolder folder;
    const std::string model = folder.CopyModel(kDemoModel);
    std::filesystem::remove(model + "/" + name);
    if (std::string(name) == "added_tokens.json") std::filesystem::remove(model + "/tokenizer_config.json");
    REQUIRE(::mkfifo((model + "/" + name).c_str(), 0600) == 0);
    CheckFails({"generate", "-m", model, "-p", "x"}, {model + "/" + name + ": is a pipe, expected a regular file"});
  }
  const TemporaryFolder folder;
  const std::string model = folder.CopyModel("tests/data/tiny/sharded");
  const std::string index = model + "/model.safetensors.index.json";
  std::filesystem::remove(index);
  REQUIRE(::mkfifo(index.c_str(), 0600) == 0);
  CheckFails({"generate", "-m", model, "--ids", folder.Write("ids.json", "[1]")}, {index + ": is a pipe"});
}

TEST_CASE("control characters of names and pieces are spelled out in messages") {
  const TemporaryFolder folder;
  const std::string model = folder.CopyModel("tests/data/tiny/sharded");
  const std::string ids = folder.Write("ids.json", "[1, 2]");
  const auto check = [&](const std::string& shard, const std::string& spelled) {
    nlohmann::json index = ReadJson("tests/data/tiny/sharded/model.safetensors.index.json");
    index["weight_map"]["lm_head.weight"] = shard;
    folder.Write("model/model.safetensors.index.json", index.dump());
    CheckFails({"generate", "-m", model, "--ids", ids}, {"/" + spelled + ": cannot be opened"});
  };
  check("a\nb", "a\\nb");
  check("a\x1b[31mb", "a\\x1b[31mb");
  check("a\rb\tc", "a\\rb\\tc");
  check(
      "a\x7f"
      "b",
      "a\\x7fb");
  check(
      "a\xc2\x9b"
      "b\xc3\xa9",
      "a\\xc2\\x9bb\xc3\xa9");  // a control character of C1; and a letter
  CheckFails({"generate", "-m", "no\nsuch", "-p", "x"}, {"no\\nsuch: is no directory"});
}

TEST_CASE("too little memory: bytes needed and available") {
  CheckFails({"generate", "-m", kDemoModel, "-p", "x", "--device-memory", "1M"}, {"bytes", "1048576"});
}

}  // namespace
}  // namespace triforce
