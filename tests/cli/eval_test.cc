// triforce eval: perplexity and logits against transformers.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <span>
#include <utility>

#include "tests/cli/process.h"
#include "tests/cli/test_files.h"

namespace triforce {
namespace {

constexpr int64_t kTinyVocab = 320;

// Mean negative log-likelihood of ids[1..], in nats, from logits [ids, vocab].
double MeanLoss(std::span<const float> logits, const std::vector<int64_t>& ids) {
  double sum = 0;
  for (size_t i = 0; i + 1 < ids.size(); ++i) {
    double total = 0;
    for (int64_t v = 0; v < kTinyVocab; ++v) total += std::exp(double{logits[i * kTinyVocab + v]});
    sum += std::log(total) - logits[i * kTinyVocab + ids[i + 1]];
  }
  return sum / static_cast<double>(ids.size() - 1);
}

// Holds eval's logits and loss for `model`, called with `more`, against `golden`. Gives back what it said.
Result CheckGolden(const std::string& model, const TinyGolden& golden, const std::vector<std::string>& more = {}) {
  CAPTURE(model);
  const TemporaryFolder folder;
  const std::string ids = folder.Write("ids.json", nlohmann::json(golden.input_ids).dump());
  const std::string logits_path = folder.Path("logits.safetensors"), stats_path = folder.Path("s.json");
  const Result result = Run(With(
      {"eval", "-m", model, "--ids", ids, "--kv-type", "f32", "--logits-out", logits_path, "--stats-json", stats_path},
      more));
  CAPTURE(result.err);
  REQUIRE(result.exit_code == 0);
  const auto tokens = static_cast<int64_t>(golden.input_ids.size());
  const std::vector<float> logits = ReadFloats(logits_path, "logits", {tokens, kTinyVocab});
  float largest = 0, difference = 0;
  for (size_t i = 0; i < logits.size(); ++i) {
    largest = std::max(largest, std::abs(golden.logits[i]));
    difference = std::max(difference, std::abs(logits[i] - golden.logits[i]));
  }
  CHECK(difference <= 1e-4f * largest);
  // Each log-probability is off by at most twice the largest difference of a logit.
  const double expected = MeanLoss(golden.logits, golden.input_ids);
  const nlohmann::json stats = ReadJson(stats_path);
  CHECK(std::abs(stats["nll"].get<double>() - expected) <= 2 * difference + 1e-5);
  CHECK(stats["perplexity"].get<double>() == doctest::Approx(std::exp(stats["nll"].get<double>())));
  CHECK(folder.List() == std::vector<std::string>{"ids.json", "logits.safetensors", "s.json"});
  return result;
}

TEST_CASE("logits and loss are those of the oracle") {
  for (const char* model : {kTinyModel, "tests/data/tiny/bf16", "tests/data/tiny/tied"}) {
    CheckGolden(model, ReadTinyGolden(model));
  }
}

// Copies tiny/`name` with max_position_embeddings as vicuna-v1.5-16k has it: less than its scaled length.
std::string CopyWithPositions(const TemporaryFolder& folder, const std::string& name, int64_t positions) {
  const std::string model = folder.CopyModel("tests/data/tiny/" + name);
  nlohmann::json config = ReadJson(model + "/config.json");
  config["max_position_embeddings"] = positions;
  folder.Write("model/config.json", config.dump());
  return model;
}

// transformers 4.40.2 with torch 1.13.1 gives the golden's logits for max_position_embeddings 64, too (largest
// difference 8.3e-7 of the largest logit): linear scaling does not look at that field.
TEST_CASE("-c goes beyond max_position_embeddings, with the logits of transformers, and says so in one line") {
  const TemporaryFolder folder, yarn, plain;
  const TinyGolden golden = ReadTinyGolden("tests/data/tiny/linear");
  REQUIRE(golden.input_ids.size() == 234);
  const std::string model = CopyWithPositions(folder, "linear", 64);
  const std::string said = CheckGolden(model, golden, {"-c", "234"}).err;
  CHECK(Contains(said, "max_position_embeddings, 64; RoPE is scaled, linear by 4"));
  CHECK(said.find("max_position_embeddings") == said.rfind("max_position_embeddings"));
  // YaRN's parameters stand in the file, as published ones have them; a model without scaling is obeyed, too.
  CHECK(Contains(CheckGolden(CopyWithPositions(yarn, "rope_parameters", 200),
                             ReadTinyGolden("tests/data/tiny/rope_parameters"), {"-c", "300"})
                     .err,
                 "max_position_embeddings, 200; RoPE is scaled, yarn by"));
  CHECK(Contains(CheckGolden(CopyWithPositions(plain, "plain", 233), ReadTinyGolden(kTinyModel), {"-c", "234"}).err,
                 "max_position_embeddings, 233; RoPE is not scaled"));
  CHECK_FALSE(Contains(CheckGolden(kTinyModel, ReadTinyGolden(kTinyModel), {"-c", "512"}).err, "max_position"));
}

TEST_CASE("without -c the limit stands, and the message says that -c goes beyond it") {
  const TemporaryFolder folder;
  const TinyGolden golden = ReadTinyGolden("tests/data/tiny/linear");
  const std::string model = CopyWithPositions(folder, "linear", 64);
  const std::string ids = folder.Write("ids.json", nlohmann::json(golden.input_ids).dump());
  for (const char* command : {"eval", "generate"}) {
    const Result result = Run({command, "-m", model, "--ids", ids});
    CHECK(result.exit_code == 1);
    CHECK(Contains(result.err, "has 234 tokens, the context 64"));
    CHECK(Contains(result.err, "max_position_embeddings; RoPE is scaled, linear by 4. -c (--ctx-size) goes beyond it"));
  }
  // -c too short for the prompt, beyond the limit or not.
  for (const char* context : {"60", "100"}) {
    const Result result = Run({"eval", "-m", model, "--ids", ids, "-c", context});
    CHECK(result.exit_code == 1);
    CHECK(Contains(result.err, "Raise --ctx-size"));
  }
  CHECK(Run({"eval", "-m", model, "--ids", ids, "-c", "4611686018427387904"}).exit_code == 2);
}

TEST_CASE("generate and plan obey -c, in a batch and with a draft of fewer positions") {
  const TemporaryFolder folder;
  const TinyGolden golden = ReadTinyGolden("tests/data/tiny/linear");
  const std::string model = CopyWithPositions(folder, "linear", 64);
  const std::string ids = nlohmann::json(golden.input_ids).dump();
  const std::string ids_path = folder.Write("ids.json", ids), out = folder.Path("out.json");
  const std::vector<std::string> greedy = Words("-c 300 --temp 0 --kv-type f32 --ignore-eos -n 24 --output-ids " + out);
  const auto check = [&](const std::vector<std::string>& arguments, const nlohmann::json& expected) {
    const Result result = Run(With(arguments, greedy));
    CAPTURE(result.err);
    REQUIRE(result.exit_code == 0);
    CHECK(ReadJson(out) == expected);
    CHECK(Contains(result.err, "max_position_embeddings, 64"));
    CHECK(result.err.find("max_position_embeddings") == result.err.rfind("max_position_embeddings"));
  };
  REQUIRE(golden.greedy.size() == 24);
  check({"generate", "-m", model, "--ids", ids_path}, golden.greedy);
  check({"generate", "-m", model, "--draft-model", model, "--spec", "draft", "--ids", ids_path}, golden.greedy);
  const std::string line = "{\"ids\": " + ids + "}\n";
  check({"generate", "-m", model, "--prompts", folder.Write("p.jsonl", line + line)}, {golden.greedy, golden.greedy});
  const Result plan = Run({"plan", "-m", model, "-c", "300"});
  CHECK(plan.exit_code == 0);
  CHECK(Contains(plan.err, "max_position_embeddings, 64"));
}

TEST_CASE("weights that hold infinity or NaN are an error, as generate gives, and no perplexity") {
  for (const auto& [name, value] : {std::pair{"bf16", "\x80\x7f"}, {"plain", "\x00\xfe"}}) {  // infinity, NaN
    CAPTURE(name);
    const TemporaryFolder folder;
    const std::string model = folder.CopyModel(std::string("tests/data/tiny/") + name);
    std::string weights = ReadText(model + "/model.safetensors");
    weights.replace(weights.size() - 100, 2, value, 2);  // in the last tensor, model.norm.weight
    folder.Write("model/model.safetensors", weights);
    const std::string ids = folder.Write("ids.json", "[1, 2, 3, 4, 5]");
    const Result eval = Run({"eval", "-m", model, "--ids", ids, "--logits-out", folder.Path("logits.safetensors")});
    CHECK(eval.exit_code == 1);
    CHECK(eval.out == "");
    CHECK(Contains(eval.err, "logits that are not finite"));
    CHECK(folder.List() == std::vector<std::string>{"ids.json", "model"});
    CHECK(Contains(Run({"generate", "-m", model, "--ids", ids}).err, "logits that are not finite"));
  }
}

TEST_CASE("the text of a result: tokens, loss, perplexity, and tokens/s beside it") {
  const TemporaryFolder folder;
  const std::string text = folder.Write("p.txt", ReadText(kBook).substr(0, 3000));
  const Result result = Run({"eval", "-m", kDemoModel, "-f", text});
  CHECK(result.exit_code == 0);
  for (const char* part : {"tokens", "nats", "perplexity"}) {
    CAPTURE(part);
    CHECK(result.out.find(part) != std::string::npos);
  }
  CHECK((result.out + result.err).find("tokens/s") != std::string::npos);
}

TEST_CASE("eval of one token is an error that says that it takes two") {
  const TemporaryFolder folder;
  const std::string one = folder.Write("ids.json", "[1]");
  for (const std::vector<std::string>& arguments :
       {Words("eval -m tests/data/tiny/plain --ids " + one), Words("eval -m tests/data/tiny/plain --prompt-tokens 1"),
        Words("eval -m tests/data/tiny/plain --ids " + one + " --logits-out " + folder.Path("logits"))}) {
    const Result result = Run(arguments);
    CHECK(result.exit_code == 1);
    CHECK(result.out == "");
    CHECK(Contains(result.err, "has 1 token, expected 2 or more"));
  }
  CHECK(Run(Words("eval -m tests/data/tiny/plain --prompt-tokens 2")).exit_code == 0);
  CHECK(folder.List() == std::vector<std::string>{"ids.json"});
}

}  // namespace
}  // namespace triforce
