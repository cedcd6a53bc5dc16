// triforce eval: perplexity and logits against transformers.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <span>

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

TEST_CASE("logits and loss are those of the oracle") {
  for (const char* model : {kTinyModel, "tests/data/tiny/bf16", "tests/data/tiny/tied"}) {
    CAPTURE(model);
    const TemporaryFolder folder;
    const TinyGolden golden = ReadTinyGolden(model);
    const std::string ids = folder.Write("ids.json", nlohmann::json(golden.input_ids).dump());
    const std::string logits_path = folder.Path("logits.safetensors"), stats_path = folder.Path("s.json");
    const Result result = Run({"eval", "-m", model, "--ids", ids, "--kv-type", "f32", "--logits-out", logits_path,
                               "--stats-json", stats_path});
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

TEST_CASE("one token has no loss, and does no harm") {
  const TemporaryFolder folder;
  const Result result = Run({"eval", "-m", kTinyModel, "--ids", folder.Write("ids.json", "[1]")});
  CHECK(result.exit_code == 0);
  CHECK(result.out.find("nan") == std::string::npos);
}

}  // namespace
}  // namespace triforce
