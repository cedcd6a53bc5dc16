// A draft's streaming cache: what it attends to, and that it does not matter how the text came in.
#include "runtime/draft_model.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <random>
#include <string>
#include <vector>

#include "kernels/core/error.h"
#include "models/scratch_directory.h"
#include "offload/plan_sizes.h"
#include "runtime/device_testing.h"
#include "runtime/engine.h"
#include "runtime/offload_testing.h"

namespace triforce {
namespace {

constexpr int64_t kSinks = 16, kCache = 256;

EngineOptions WithDraft(const std::string& model, const std::string& draft, int64_t context = 400) {
  EngineOptions options = Options({.model = kTiny, .prompt = context, .steps = 0, .rows = 0});
  options.model_directory = model;
  options.draft_directory = draft;
  options.threads = 2;
  return options;
}

std::vector<float> Read(Engine& engine, const TensorView& logits) { return ReadFloats(engine.lane(), logits); }

bool SameBits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

// Logits behind the last of `tokens`, all of them in one call.
std::vector<float> Behind(Engine& engine, std::span<const TokenId> tokens) {
  const auto cache = engine.draft()->NewCache();
  return Read(engine, engine.draft()->Run(tokens, 1, *cache));
}

TEST_CASE("a draft that has seen no more than its cache holds gives the bits of the full cache") {
  Engine engine(WithDraft(kTiny, kTiny));
  const std::vector<TokenId> tokens = Tokens(kCache, 320);
  for (const int64_t count : {int64_t{1}, kSinks - 1, kSinks, kSinks + 1, int64_t{100}, kCache}) {
    CAPTURE(count);
    const std::span<const TokenId> text = std::span(tokens).first(count);
    const auto session = engine.NewSession();
    CHECK(SameBits(Behind(engine, text), Read(engine, session->Append(text))));
  }
}

// The largest difference, of the largest of `b`.
double WorstDifference(const std::vector<float>& a, const std::vector<float>& b) {
  REQUIRE(a.size() == b.size());
  double worst = 0, most = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    worst = std::max(worst, std::abs(static_cast<double>(a[i]) - b[i]));
    most = std::max(most, std::abs(static_cast<double>(b[i])));
  }
  return worst / most;
}

TEST_CASE("a draft that has seen more attends to the sinks and the most recent tokens, side by side") {
  const LongModel model(kTiny, /*one_layer=*/true);  // its keys and values depend on no other token
  Engine engine(WithDraft(model.path(), model.path(), 3000));
  const std::vector<TokenId> tokens = Tokens(3000, 320);
  for (const int64_t count : {kCache + 1, int64_t{600}, int64_t{607}, int64_t{3000}}) {
    CAPTURE(count);
    const auto of_window = [&](int64_t recent) {
      std::vector<TokenId> seen(tokens.begin(), tokens.begin() + kSinks);
      seen.insert(seen.end(), tokens.begin() + (count - recent), tokens.begin() + count);
      const auto session = engine.NewSession();
      return Read(engine, session->Append(seen));
    };
    // Whole tiles of eight, counted from the sinks on: as many as fit.
    const int64_t recent = kCache - kSinks - (8 - count % 8) % 8;
    const std::vector<float> found = Behind(engine, std::span(tokens).first(count));
    // Keys are rounded to f16 (half of 2^-10) where they stand, and angles to f32: at position 3000 by 3000 * 2^-24.
    CHECK(WorstDifference(found, of_window(recent)) < 2e-3);
    CHECK(WorstDifference(found, of_window(recent - 1)) > 4e-3);
    CHECK(WorstDifference(found, of_window(recent + 1)) > 4e-3);
  }
}

TEST_CASE("however a text came in, and whatever was taken back on the way, a draft is the same") {
  constexpr uint32_t kSeed = 3;
  CAPTURE(kSeed);
  for (const char* name : {kTiny, "models/demo/draft"}) {
    if (SmallTests() && name != kTiny) continue;
    CAPTURE(name);
    const LongModel model(name);
    Engine engine(WithDraft(model.path(), model.path(), 2700));
    const auto vocab = static_cast<int32_t>(engine.config().vocab);
    const std::vector<TokenId> tokens = Tokens(2600, vocab), others = Tokens(2600, vocab, 99);
    const auto cache = engine.draft()->NewCache();
    std::mt19937 random(kSeed);
    int compared = 0, refilled = 0;
    while (cache->tokens() < 2500) {
      const int64_t at = cache->tokens();
      const int64_t step = random() % 40 == 0 ? 1 + random() % 900 : 1 + random() % 70;
      const int64_t end = std::min<int64_t>(2600, at + step);
      const std::vector<float> logits =
          Read(engine, engine.draft()->Run(std::span(tokens).subspan(at, end - at), 1, *cache));
      if (random() % 40 == 0) {
        CHECK(SameBits(logits, Behind(engine, std::span(tokens).first(end))));
        ++compared;
      }
      // Others come, and go again; sometimes with tokens that were right.
      engine.draft()->TakeIn(std::span(others).first(1 + random() % 20), *cache);
      const int64_t back = random() % 20 == 0 ? random() % 400 : random() % 60;
      cache->Rewind(std::max<int64_t>(0, end - back));
      refilled += cache->tokens() < std::max<int64_t>(0, end - back);
    }
    CHECK(compared > 2);
    MESSAGE(compared, " comparisons, the cache was filled anew ", refilled, " times");
  }
}

TEST_CASE("taken back further than it keeps, a draft that has passed over a text's beginning is filled anew") {
  const LongModel model(kTiny);
  Engine engine(WithDraft(model.path(), model.path(), 1500));
  const std::vector<TokenId> tokens = Tokens(1203, 320);
  // What it has would do for the last tokens, and not for what those before them have seen.
  for (const int64_t back : {kDraftRollback, kDraftRollback + 30, kDraftRollback + 60}) {
    CAPTURE(back);
    const auto cache = engine.draft()->NewCache();
    engine.draft()->TakeIn(tokens, *cache);
    const int64_t left = std::ssize(tokens) - back;
    cache->Rewind(left);
    CHECK((cache->tokens() == left) == (back == kDraftRollback));
    const std::span<const TokenId> text = std::span(tokens).first(left + 1);
    const std::vector<float> found = Read(engine, engine.draft()->Run(text.subspan(cache->tokens()), 1, *cache));
    CHECK(SameBits(found, Behind(engine, text)));
  }
}

TEST_CASE("a draft of another vocabulary is refused") {
  CHECK_THROWS_WITH_AS(Engine(WithDraft(kTiny, "models/demo/draft")),
                       doctest::Contains("has a vocabulary of 4096 tokens, the target tests/data/tiny/gqa one of 320"),
                       Error);
  const ScratchDirectory other;
  for (const char* file : {"config.json", "model.safetensors"}) {
    std::filesystem::copy_file(std::string("models/demo/draft/") + file, other.path() + "/" + file);
  }
  CHECK_NOTHROW(CheckSameVocabulary({"models/demo/target"}, {other.path()}));  // no tokenizer: nothing to compare
  std::filesystem::copy_file("models/testdata/drops_spaces.model", other.path() + "/tokenizer.model");
  CHECK_THROWS_AS(CheckSameVocabulary({"models/demo/target"}, {other.path()}), Error);
}

}  // namespace
}  // namespace triforce
