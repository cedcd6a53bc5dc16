#include "models/config.h"

#include <doctest/doctest.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <random>

#include "models/json_file.h"
#include "models/scratch_directory.h"

namespace triforce {
namespace {

using Json = nlohmann::json;

const Json kLlama = Json::parse(R"({
  "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "vocab_size": 320,
  "hidden_size": 64, "intermediate_size": 160, "num_hidden_layers": 3, "num_attention_heads": 4,
  "num_key_value_heads": 2, "max_position_embeddings": 512, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
  "bos_token_id": 1, "eos_token_id": 2, "tie_word_embeddings": false})");

// kLlama with `changes` merged in; null removes a field.
ModelConfig Read(const Json& changes) {
  const ScratchDirectory directory;
  Json config = kLlama;
  config.merge_patch(changes);
  directory.Write("config.json", config.dump());
  return ReadModelConfig(directory.path());
}

std::string ReadError(const Json& changes) {
  return ErrorOf([&] { Read(changes); });
}

TEST_CASE("every golden's configuration is read") {
  const ModelConfig gqa = ReadModelConfig("tests/data/tiny/gqa");
  CHECK(gqa.vocab == 320);
  CHECK(gqa.hidden == 64);
  CHECK(gqa.ffn == 160);
  CHECK(gqa.layers == 3);
  CHECK(gqa.heads == 4);
  CHECK(gqa.kv_heads == 2);
  CHECK(gqa.head_dim == 16);
  CHECK(gqa.max_positions == 512);
  CHECK(gqa.rms_norm_eps == 1e-5f);
  CHECK(gqa.bos == TokenId{1});
  CHECK(gqa.eos == std::vector{TokenId{2}});
  CHECK(gqa.kv_elements_per_token() == 2 * 3 * 2 * 16);
  CHECK(ReadModelConfig("tests/data/tiny/mqa").kv_heads == 1);
  CHECK(ReadModelConfig("tests/data/tiny/head_dim_32").head_dim == 32);
  CHECK(ReadModelConfig("tests/data/tiny/tied").tied_embeddings);
  CHECK(ReadModelConfig("tests/data/tiny/bias").attention_bias);
  CHECK(ReadModelConfig("tests/data/tiny/bias").mlp_bias);
  CHECK(ReadModelConfig("models/demo/target").rope.type == RopeType::kYarn);
  int64_t models = 0;
  for (const auto& entry : std::filesystem::directory_iterator("tests/data/tiny")) {
    CHECK(ReadModelConfig(entry.path().string()).layers == 3);
    ++models;
  }
  CHECK(models == 14);
}

TEST_CASE("what may be left out has transformers' defaults") {
  const ModelConfig config =
      Read({{"num_key_value_heads", nullptr}, {"bos_token_id", nullptr}, {"eos_token_id", {2, 7}}});
  CHECK(config.kv_heads == 4);
  CHECK_FALSE(config.bos);
  CHECK(config.eos == std::vector{TokenId{2}, TokenId{7}});
  CHECK(Read({{"rope_theta", nullptr}}).rope.theta == 10000);
}

TEST_CASE("RoPE in both spellings") {
  CHECK(ReadModelConfig("tests/data/tiny/linear").rope.factor == 4);
  CHECK(ReadModelConfig("tests/data/tiny/llama3").rope.high_freq_factor == 4);
  const RopeConfig newer = ReadModelConfig("tests/data/tiny/rope_parameters").rope;
  CHECK(newer.type == RopeType::kYarn);
  CHECK(newer.theta == 20000);
  CHECK(newer.original_positions == 64);
  CHECK(Read({{"rope_scaling", {{"type", "linear"}, {"factor", 2}}}}).rope.type == RopeType::kLinear);
  CHECK(Read({{"rope_scaling", {{"rope_type", "default"}}}}).rope.type == RopeType::kDefault);
  CHECK(Read({{"rope_parameters", {{"rope_theta", 5e5}}}}).rope.theta == 5e5);
  // A null in either spelling is no RoPE scaling. merge_patch would remove it, hence as text.
  const ScratchDirectory directory;
  Json config = kLlama;
  config["rope_scaling"] = nullptr;
  config["rope_parameters"] = nullptr;
  directory.Write("config.json", config.dump());
  CHECK(ReadModelConfig(directory.path()).rope.type == RopeType::kDefault);
}

TEST_CASE("models of other kinds are unsupported, not wrong") {
  CHECK(HasAll(ReadError({{"model_type", nullptr}, {"architectures", {"MistralForCausalLM"}}}),
               {"kUnsupported ", "config.json: architectures: ", "Mistral", "LlamaForCausalLM"}));
  CHECK(HasAll(ReadError({{"model_type", "qwen2"}}), {"kUnsupported ", "model_type: found \"qwen2\"", "\"llama\""}));
  CHECK(HasAll(ReadError({{"hidden_act", "gelu"}}), {"kUnsupported ", "hidden_act: found \"gelu\"", "\"silu\""}));
  CHECK(HasAll(ReadError({{"head_dim", 33}}), {"kUnsupported ", "head_dim: found 33, expected an even number"}));
  CHECK(HasAll(ReadError({{"partial_rotary_factor", 0.5}}), {"kUnsupported ", "partial_rotary_factor", "expected 1"}));
  for (const char* type : {"dynamic", "longrope", "su", ""}) {
    CHECK(HasAll(ReadError({{"rope_scaling", {{"rope_type", type}, {"factor", 2}}}}),
                 {"kUnsupported ", "rope_scaling", "rope_type: found \"" + std::string(type) + "\"", "llama3"}));
  }
}

TEST_CASE("an architecture spelled LLaMAForCausalLM, as Llama3-ChatQA-2-8B has it: model_type decides") {
  for (const Json& names :
       {Json::array({"LLaMAForCausalLM"}), Json::array({"LlamaModel"}),
        Json::array({"MyForCausalLM", "LlamaForCausalLM"}), Json::array(), Json("Llama"), Json(1)}) {
    CAPTURE(names);
    CHECK(Read({{"architectures", names}}).layers == 3);
  }
  CHECK(Read({{"model_type", nullptr}, {"architectures", {"LLaMAForCausalLM"}}}).layers == 3);
  CHECK(HasAll(ReadError({{"model_type", nullptr}, {"architectures", "LlamaForCausalLM"}}),
               {"architectures: found \"LlamaForCausalLM\", expected [\"LlamaForCausalLM\"]"}));
  CHECK(HasAll(ReadError({{"model_type", "LLaMA2"}}), {"model_type: found \"LLaMA2\", expected \"llama\""}));
}

TEST_CASE("a quantised checkpoint is told by its method, with what to give instead") {
  const auto error = [](const Json& quantization) { return ReadError({{"quantization_config", quantization}}); };
  const std::string remedy = "before it was quantised";
  CHECK(HasAll(error({{"quant_method", "gptq"}, {"bits", 4}, {"group_size", 128}}),
               {"kUnsupported ", "quantised (\"gptq\", 4 bits), expected F16, BF16 or F32", remedy}));
  CHECK(HasAll(error({{"quant_method", "awq"}, {"bits", 4}}), {"quantised (\"awq\", 4 bits)", remedy}));
  CHECK(HasAll(error({{"quant_method", "bitsandbytes"}, {"load_in_4bit", true}}), {"(\"bitsandbytes\")", remedy}));
  CHECK(HasAll(error({{"quant_method", "fp8"}, {"activation_scheme", "dynamic"}}), {"(\"fp8\")", remedy}));
  CHECK(HasAll(error({{"bits", 4}}), {"(in a way that is not told, 4 bits)", remedy}));
  CHECK(HasAll(error(true), {"(in a way that is not told)", remedy}));
  CHECK(error({{"quant_method", "gptq"}}).find("architecture") == std::string::npos);
}

// Python's json module writes them so.
TEST_CASE("Infinity and NaN in config.json are accepted where nobody needs the value") {
  const ScratchDirectory directory;
  const auto read = [&](const std::string& fields) {
    directory.Write("config.json", kLlama.dump().insert(1, fields + ","));
    return ReadModelConfig(directory.path());
  };
  for (const char* fields :
       {R"("initializer_range": NaN)", R"("max_length": Infinity)", R"("x": -Infinity)", R"("x": [NaN, Infinity])",
        R"("task_specific_params": {"a": {"b": [-Infinity , NaN]}, "text": "NaN, Infinity"})"}) {
    CAPTURE(fields);
    CHECK(read(fields).layers == 3);
  }
  CHECK(
      HasAll(ErrorOf([&] { read(R"("attention_bias": NaN)"); }), {"attention_bias: found \"NaN\", expected true or"}));
  CHECK(
      HasAll(ErrorOf([&] { read(R"("head_dim": Infinity)"); }), {"head_dim: found \"Infinity\", expected an integer"}));
  CHECK(HasAll(ErrorOf([&] { read(R"("rope_scaling": {"type": "linear", "factor": -Infinity})"); }),
               {"rope_scaling: factor: found \"-Infinity\", expected a number"}));
}

TEST_CASE("zeros, negatives and nonsense in any field are refused, with its name") {
  for (const char* field : {"vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers",
                            "num_attention_heads", "num_key_value_heads", "max_position_embeddings", "head_dim"}) {
    for (const Json& value :
         {Json(0), Json(-3), Json(INT64_MAX), Json(UINT64_MAX), Json(2.5), Json("64"), Json({64})}) {
      CAPTURE(field);
      CHECK(HasAll(ReadError({{field, value}}), {"kInvalidInput ", "config.json: " + std::string(field) + ": found ",
                                                 value.dump(), "expected an integer from 1 to "}));
    }
  }
  CHECK(HasAll(ReadError({{"vocab_size", nullptr}}), {"vocab_size: found nothing"}));
  for (const Json& value : {Json(0), Json(-1e-5), Json(2.0), Json("1e-5"), Json(true)}) {
    CHECK(HasAll(ReadError({{"rms_norm_eps", value}}), {"config.json: rms_norm_eps: found " + value.dump()}));
  }
  CHECK(HasAll(ReadError({{"attention_bias", 1}}), {"attention_bias: found 1, expected true or false"}));
  CHECK(HasAll(ReadError({{"tie_word_embeddings", "no"}}), {"tie_word_embeddings: found \"no\""}));
}

TEST_CASE("heads that do not divide") {
  CHECK(HasAll(ReadError({{"num_attention_heads", 5}, {"num_key_value_heads", 5}}),
               {"kInvalidInput ", "num_attention_heads: found 5, expected a divisor of hidden_size, 64"}));
  CHECK(HasAll(ReadError({{"num_key_value_heads", 3}}),
               {"kInvalidInput ", "num_key_value_heads: found 3, expected a divisor of num_attention_heads, 4"}));
  CHECK(HasAll(ReadError({{"num_key_value_heads", 8}}), {"num_key_value_heads: found 8"}));
}

TEST_CASE("ids outside the vocabulary") {
  CHECK(HasAll(ReadError({{"bos_token_id", 320}}), {"bos_token_id: found 320, expected ids from 0 to 319"}));
  CHECK(HasAll(ReadError({{"eos_token_id", -1}}), {"eos_token_id: found -1"}));
  CHECK(HasAll(ReadError({{"eos_token_id", {2, 320}}}), {"eos_token_id: found [2,320]"}));
  CHECK(HasAll(ReadError({{"eos_token_id", UINT64_MAX}}), {"eos_token_id: found 1844674"}));
  CHECK(HasAll(ReadError({{"eos_token_id", "</s>"}}), {"eos_token_id: found \"</s>\""}));
}

TEST_CASE("RoPE parameters that make no sense") {
  const auto error = [](const Json& scaling) { return ReadError({{"rope_scaling", scaling}}); };
  CHECK(HasAll(error("yarn"), {"rope_scaling: found \"yarn\", expected an object"}));
  CHECK(HasAll(error({{"type", "linear"}}), {"rope_scaling: factor: found nothing, expected a number from 1"}));
  CHECK(HasAll(error({{"type", "linear"}, {"factor", 0}}), {"rope_scaling: factor: found 0"}));
  CHECK(HasAll(error({{"type", "linear"}, {"factor", "2"}}), {"rope_scaling: factor: found \"2\""}));
  CHECK(HasAll(error({{"type", "yarn"}, {"factor", 2}, {"original_max_position_embeddings", 0}}),
               {"rope_scaling: original_max_position_embeddings: found 0"}));
  CHECK(HasAll(error({{"type", "yarn"}, {"factor", 2}, {"beta_fast", 1}, {"beta_slow", 2}}),
               {"rope_scaling: beta_fast: found 1, expected at least beta_slow, 2"}));
  CHECK(HasAll(error({{"type", "llama3"}, {"factor", 8}, {"low_freq_factor", 4}, {"high_freq_factor", 4}}),
               {"rope_scaling: high_freq_factor: found 4, expected more than low_freq_factor, 4"}));
  CHECK(HasAll(error({{"type", "llama3"}, {"factor", 8}}), {"rope_scaling: low_freq_factor: found nothing"}));
  CHECK(HasAll(ReadError({{"rope_theta", 1}}), {"rope_theta: found 1, expected a number from 1.001"}));
  CHECK(HasAll(ReadError({{"rope_parameters", {{"rope_theta", -1}}}}), {"rope_parameters: rope_theta: found -1"}));
}

TEST_CASE("no directory, no config.json") {
  const ScratchDirectory directory;
  CHECK(HasAll(ErrorOf([&] { ReadModelConfig(directory.path() + "/none"); }), {"kIo ", directory.path() + "/none"}));
  CHECK(HasAll(ErrorOf([&] { ReadModelConfig(std::string(5000, 'a')); }), {"kIo "}));
  CHECK(HasAll(ErrorOf([&] { ReadModelConfig(directory.path()); }),
               {"kIo ", directory.path() + "/config.json", "No such file"}));
}

TEST_CASE("what people give for a model directory and is none, with what to give instead") {
  const ScratchDirectory directory;
  const auto error = [](const std::string& path) { return ErrorOf([&] { ReadModelConfig(path); }); };
  const std::string gguf = directory.Write("llama.Q4_K_M.gguf", "GGUF\3");
  CHECK(HasAll(error(gguf), {"kUnsupported ", gguf + ": is a GGUF file, which cannot be read yet", "config.json"}));
  CHECK(HasAll(error(directory.Write("renamed", "GGUF\3")), {"kUnsupported ", "is a GGUF file"}));
  CHECK(HasAll(error(directory.path()), {"kUnsupported ", "holds llama.Q4_K_M.gguf and no config.json"}));
  CHECK(HasAll(error(directory.Write("model.safetensors", "x")), {"kIo ", "is a file, expected a directory"}));
  CHECK(HasAll(error("meta-llama/Llama-2-7b-hf"), {"kIo ", "is no directory", "hf download"}));
  const ScratchDirectory meta;
  meta.Write("consolidated.00.pth", "x");
  CHECK(HasAll(error(meta.path()), {"kUnsupported ", "holds consolidated.00.pth", "Meta's own format"}));
}

TEST_CASE("of a Hugging Face cache's folder, the snapshot to give is told") {
  namespace fs = std::filesystem;
  const ScratchDirectory hub;
  const std::string top = hub.path() + "/models--org--name";
  const auto error = [](const std::string& path) { return ErrorOf([&] { ReadModelConfig(path); }); };
  fs::create_directories(top + "/refs");
  fs::create_directories(top + "/blobs");
  fs::create_directories(top + "/snapshots");
  CHECK(HasAll(error(top), {"kInvalidInput ", "Hugging Face cache", "no snapshot"}));
  for (const char* revision : {"aaa", "bbb"}) {
    fs::create_directories(top + "/snapshots/" + revision);
    hub.Write("models--org--name/snapshots/" + std::string(revision) + "/config.json", kLlama.dump());
  }
  CHECK(HasAll(error(top), {"kInvalidInput " + top + ": ", "Give the model's snapshot: " + top + "/snapshots/aaa"}));
  hub.Write("models--org--name/refs/main", "bbb");
  for (const std::string& path : {top, top + "/", top + "/snapshots", top + "/snapshots/", hub.path()}) {
    CAPTURE(path);
    CHECK(HasAll(error(path), {"kInvalidInput " + path + ": ", "Give the model's snapshot: ", "/snapshots/bbb"}));
  }
  CHECK(ReadModelConfig(top + "/snapshots/bbb").layers == 3);
  hub.Write("models--org--name/refs/main", "../../elsewhere");
  CHECK(HasAll(error(top), {"/snapshots/aaa"}));
}

// Whatever the bytes: a configuration or an Error.
TEST_CASE("flipped and missing bytes") {
  const uint32_t seed = std::random_device()();
  MESSAGE("seed " << seed);
  std::mt19937 random(seed);
  const std::string whole = ReadFile("tests/data/tiny/llama3/config.json");
  const ScratchDirectory directory;
  int64_t refused = 0;
  for (int round = 0; round < 2000; ++round) {
    std::string text = whole.substr(0, round % 4 == 0 ? random() % whole.size() : whole.size());
    for (uint32_t flips = random() % 3; flips > 0 && !text.empty(); --flips) {
      text[random() % text.size()] = static_cast<char>(random());
    }
    directory.Write("config.json", text);
    refused += ErrorOf([&] { ReadModelConfig(directory.path()); }) != "no error";
  }
  CHECK(refused > 500);
}

}  // namespace
}  // namespace triforce
