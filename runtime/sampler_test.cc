#include "runtime/sampler.h"

#include <doctest/doctest.h>

#include <cmath>
#include <string>
#include <vector>

#include "kernels/core/cpu_device.h"
#include "kernels/core/error.h"

namespace triforce {
namespace {

class SamplerTest {
 public:
  TokenId Sample(const SamplingOptions& options, std::vector<float> logits, const TokenHistory& history,
                 uint32_t round) {
    const int64_t vocab = static_cast<int64_t>(logits.size());
    Sampler sampler(*lane_, vocab, options);
    return sampler.Sample(TensorView(&device_, logits.data(), DType::kF32, {1, vocab}), history, {.round = round});
  }

  // How often each token comes in `draws` draws.
  std::vector<int> Count(const SamplingOptions& options, const std::vector<float>& logits, int draws) {
    const TokenHistory history(static_cast<int64_t>(logits.size()));
    std::vector<int> counts(logits.size());
    for (int i = 0; i < draws; ++i) ++counts[ToInt(Sample(options, logits, history, i))];
    return counts;
  }

 private:
  CpuDevice device_{1 << 20};
  std::unique_ptr<Lane> lane_ = device_.NewLane({.name = "test"});
};

// Chi-square with 3 degrees of freedom passes 21.1 with probability 1e-4; the seed is fixed, so the outcome is too.
TEST_CASE("tokens come as often as their probabilities say") {
  SamplerTest test;
  const std::vector<float> logits{std::log(0.5f), std::log(0.25f), std::log(0.2f), std::log(0.05f)};
  const double expected[] = {0.5, 0.25, 0.2, 0.05};
  constexpr int kDraws = 20000;
  const std::vector<int> counts = test.Count({.seed = 1}, logits, kDraws);
  double chi_square = 0;
  for (int i = 0; i < 4; ++i) chi_square += std::pow(counts[i] - kDraws * expected[i], 2) / (kDraws * expected[i]);
  CHECK(chi_square < 21.1);
  CHECK(test.Count({.filter = {.top_k = 2}, .seed = 1}, logits, 200)[2] == 0);
  CHECK(test.Count({.filter = {.temperature = 0}, .seed = 1}, logits, 10)[0] == 10);
}

TEST_CASE("the same seed gives the same tokens, another seed others") {
  SamplerTest test;
  const std::vector<float> logits(50, 0.0f);
  CHECK(test.Count({.seed = 1}, logits, 40) == test.Count({.seed = 1}, logits, 40));
  CHECK(test.Count({.seed = 1}, logits, 40) != test.Count({.seed = 2}, logits, 40));
}

TEST_CASE("penalties see the prompt (repetition) and the output (all three), before the temperature") {
  SamplerTest test;
  TokenHistory history(3);
  history.AddPrompt(std::vector<TokenId>{TokenId{1}});
  history.AddOutput(TokenId{2});
  history.AddOutput(TokenId{2});
  CHECK(std::vector<int32_t>(history.output_counts().begin(), history.output_counts().end()) ==
        std::vector<int32_t>{0, 2});
  const auto greedy = [&](SamplingOptions options, std::vector<float> logits) {
    options.filter.temperature = 0;
    return ToInt(test.Sample(options, std::move(logits), history, 0));
  };
  CHECK(greedy({}, {1.0f, 1.5f, 1.2f}) == 1);
  CHECK(greedy({.repetition_penalty = 2}, {1.0f, 1.5f, 1.2f}) == 0);
  CHECK(greedy({.frequency_penalty = 0.5f}, {1.0f, 0.9f, 1.9f}) == 0);
  CHECK(greedy({.presence_penalty = 0.5f}, {1.0f, 0.9f, 1.4f}) == 0);
  CHECK(greedy({.presence_penalty = 0.5f}, {1.0f, 1.1f, 1.4f}) == 1);
}

TEST_CASE("options out of range, and logits that are not finite, are errors") {
  SamplerTest test;
  const auto invalid = [](const SamplingOptions& options) { CHECK_THROWS_AS(Validate(options), Error); };
  invalid({.filter = {.temperature = -1}});
  invalid({.filter = {.temperature = NAN}});
  invalid({.filter = {.top_k = -1}});
  invalid({.filter = {.top_p = 0}});
  invalid({.filter = {.top_p = 1.1f}});
  invalid({.filter = {.min_p = 2}});
  for (const float penalty : {0.0f, -1.0f, 9e-4f, 1e-39f, 1001.0f, INFINITY, NAN})
    invalid({.repetition_penalty = penalty});
  for (const float penalty : {-1001.0f, 1001.0f, 1e38f, -INFINITY, NAN}) {
    invalid({.frequency_penalty = penalty});
    invalid({.presence_penalty = penalty});
  }
  Validate({.filter = {.temperature = 1e-45f}, .repetition_penalty = 1e-3f, .frequency_penalty = -1e3f});
  CHECK_THROWS_WITH_AS(Validate({.filter = {.top_p = 2}}), doctest::Contains("--top-p: found 2, expected more than 0"),
                       Error);
  const TokenHistory history(3);
  const float nan = std::nanf("");
  for (float temperature : {0.0f, 1.0f}) {
    for (const float bad : {nan, INFINITY, -INFINITY}) {
      CHECK_THROWS_WITH_AS(test.Sample({.filter = {.temperature = temperature}}, {bad, bad, bad}, history, 0),
                           doctest::Contains("not finite"), Error);
    }
  }
}

TEST_CASE("the least temperature and the outermost penalties draw from finite logits") {
  SamplerTest test;
  TokenHistory history(3);
  for (int i = 0; i < 1000; ++i) history.AddOutput(TokenId{2});
  for (const float temperature : {1e-38f, 1e-45f, 0.6f}) {
    for (const float penalty : {-1e3f, 1e3f}) {
      const SamplingOptions options{.filter = {.temperature = temperature},
                                    .repetition_penalty = penalty < 0 ? 1e-3f : 1e3f,
                                    .frequency_penalty = penalty,
                                    .presence_penalty = penalty};
      CHECK(ToInt(test.Sample(options, {-30, 29, 30}, history, 0)) == (penalty < 0 ? 2 : 1));
    }
  }
}

}  // namespace
}  // namespace triforce
