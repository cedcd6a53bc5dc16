// triforce inspect: what a model directory holds.
#include <doctest/doctest.h>

#include <filesystem>

#include "tests/cli/process.h"
#include "tests/cli/test_files.h"

namespace triforce {
namespace {

TEST_CASE("the demo model in words") {
  const Result result = Run({"inspect", "-m", kDemoModel});
  CHECK(result.exit_code == 0);
  CHECK(result.err == "");
  for (const char* part : {"F16", "yarn", "4.0", "KiB", "sentencepiece", "BOS"}) {
    CAPTURE(part);
    CHECK_MESSAGE(result.out.find(part) != std::string::npos, result.out);
  }
}

TEST_CASE("as JSON: one object with sizes and the bytes of KV per token") {
  const Result result = Run({"inspect", "-m", kDemoModel, "--json"});
  REQUIRE(result.exit_code == 0);
  const nlohmann::json json = nlohmann::json::parse(result.out);
  CHECK(json["layers"] == 4);
  CHECK(json["hidden"] == 256);
  CHECK(json["heads"] == 4);
  CHECK(json["max_positions"] == 32768);
  CHECK(json["rope"]["type"] == "yarn");
  CHECK(json["kv_bytes_per_token_f16"] == 4 * 2 * 256 * 2);
  CHECK(json["tokenizer"]["pieces"] == 4096);
  CHECK(json["tokenizer"]["adds_bos"] == true);
}

TEST_CASE("every tiny model can be looked at, and its tensors are counted") {
  for (const auto& entry : std::filesystem::directory_iterator("tests/data/tiny")) {
    const std::string model = entry.path().string();
    CAPTURE(model);
    const Result result = Run({"inspect", "-m", model, "--json"});
    REQUIRE(result.exit_code == 0);
    const nlohmann::json json = nlohmann::json::parse(result.out);
    const nlohmann::json config = ReadJson(model + "/config.json");
    CHECK(json["layers"] == config["num_hidden_layers"]);
    CHECK(json["vocab"] == config["vocab_size"]);
    CHECK(json["parameters"].get<int64_t>() > 0);
    const int64_t element = config["torch_dtype"] == "float32" ? 4 : 2;
    CHECK(json["bytes"] == json["parameters"].get<int64_t>() * element);
  }
}

TEST_CASE("what is no model directory") {
  const Result result = Run({"inspect", "-m", "models/demo/books"});
  CHECK(result.exit_code == 1);
  CHECK(result.out == "");
  CHECK(result.err.find("config.json") != std::string::npos);
}

}  // namespace
}  // namespace triforce
