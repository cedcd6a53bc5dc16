// Sessions and generation on a tiny model. What the numbers should be is the goldens' matter (tests/goldens).
#include "runtime/engine.h"

#include <doctest/doctest.h>

#include <cstring>
#include <string>
#include <vector>

#include "kernels/core/error.h"
#include "models/tokenizer.h"
#include "runtime/generate.h"

namespace triforce {
namespace {

const char* const kTiny = "tests/data/tiny/gqa";
const char* const kDemo = "models/demo/target";

std::vector<TokenId> Tokens(int count) {
  std::vector<TokenId> tokens;
  for (int i = 0; i < count; ++i) tokens.push_back(TokenId{(i * 37 + 5) % 320});
  return tokens;
}

std::vector<float> LogitsBehind(Engine& engine, Session& session, std::span<const TokenId> tokens) {
  const TensorView logits = session.Append(tokens);
  engine.lane().Synchronize();
  return {logits.as<float>(), logits.as<float>() + logits.elements()};
}

bool SameBits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

TEST_CASE("one token at a time, all at once, and after a rewind: the same bits") {
  for (const DType kv_type : {DType::kF16, DType::kBF16, DType::kF32}) {
    Engine engine(
        {.model_directory = kTiny, .plan = {.kv_type = kv_type, .context_tokens = 90, .batch = 2}, .threads = 2});
    const std::vector<TokenId> tokens = Tokens(90);
    const auto whole = engine.NewSession();
    const std::vector<float> expected = LogitsBehind(engine, *whole, tokens);
    const auto single = engine.NewSession();
    std::vector<float> logits;
    for (const TokenId& token : tokens) logits = LogitsBehind(engine, *single, {&token, 1});
    CHECK(SameBits(logits, expected));
    single->Rewind(40);
    CHECK(single->tokens().size() == 40);
    LogitsBehind(engine, *single, Tokens(30));  // other tokens, to be forgotten
    single->Rewind(40);
    CHECK(SameBits(LogitsBehind(engine, *single, std::span(tokens).subspan(40)), expected));
  }
}

TEST_CASE("two sessions of one engine do not disturb each other; a third has no room until one ends") {
  Engine engine({.model_directory = kTiny, .plan = {.context_tokens = 20, .batch = 2}, .threads = 2});
  const std::vector<TokenId> tokens = Tokens(20);
  auto a = engine.NewSession(), b = engine.NewSession();
  LogitsBehind(engine, *a, std::span(tokens).first(10));
  LogitsBehind(engine, *b, Tokens(13));
  const std::vector<float> mixed = LogitsBehind(engine, *a, std::span(tokens).subspan(10));
  CHECK_THROWS_WITH_AS(engine.NewSession(), doctest::Contains("the plan has room for 2"), Error);
  b.reset();
  const auto alone = engine.NewSession();
  LogitsBehind(engine, *alone, std::span(tokens).first(10));
  CHECK(SameBits(LogitsBehind(engine, *alone, std::span(tokens).subspan(10)), mixed));
}

TEST_CASE("a session refuses what does not fit, and stays as it was") {
  Engine engine({.model_directory = kTiny, .plan = {.context_tokens = 10}, .threads = 1});
  const auto session = engine.NewSession();
  session->Append(Tokens(8));
  CHECK_THROWS_WITH_AS(session->Append(Tokens(3)), doctest::Contains("8 tokens and 3 more exceed the context of 10"),
                       Error);
  const TokenId beyond{320};
  CHECK_THROWS_WITH_AS(session->Append({&beyond, 1}), doctest::Contains("found 320, expected 0 to 319"), Error);
  CHECK(session->tokens().size() == 8);
  CHECK_THROWS_WITH_AS(Engine({.model_directory = kTiny, .plan = {.context_tokens = 513}}),
                       doctest::Contains("found 513 tokens, expected 1 to 512"), Error);
}

TEST_CASE("too little memory: bytes needed and available") {
  CHECK_THROWS_WITH_AS(Engine({.model_directory = kTiny, .plan = {.device_bytes = 1000}}),
                       doctest::Contains("1000 bytes are available"), Error);
  CHECK_THROWS_WITH_AS(Engine({.model_directory = kDemo, .plan = {.device_bytes = 3 << 20, .host_bytes = 64 << 20}}),
                       doctest::Contains("are available"), Error);
}

TEST_CASE("a stop request ends a prompt between blocks, and keeps nothing of it") {
  Engine engine({.model_directory = kTiny, .plan = {.context_tokens = 200, .options = {.prefill_rows = 16}}});
  const auto session = engine.NewSession();
  std::stop_source source;
  const auto stop_at = [&](int64_t done, int64_t) {
    if (done >= 64) source.request_stop();
  };
  CHECK_FALSE(session->Append(Tokens(200), stop_at, source.get_token()));
  CHECK(session->tokens().empty());
  // And what comes next is as if it had not been.
  const std::vector<float> after = LogitsBehind(engine, *session, Tokens(100));
  session->Rewind(0);
  CHECK(SameBits(LogitsBehind(engine, *session, Tokens(100)), after));
}

Generation GenerateOnDemo(const GenerateOptions& options, std::string* text, int64_t context = 200) {
  Engine engine({.model_directory = kDemo, .plan = {.context_tokens = context}, .threads = 2});
  const Tokenizer tokenizer(kDemo, engine.config());
  const auto session = engine.NewSession();
  const TensorView logits = session->Append(tokenizer.Encode("It was the best of times"));
  return Generate(*session, engine, logits, options, &tokenizer,
                  [&](std::string_view piece, TokenOrigin) { *text += piece; });
}

TEST_CASE("generation ends at its length, at the context's end, at a stop string, at the end of sequence") {
  GenerateOptions options{.max_tokens = 30};
  options.sampling.filter.temperature = 0;
  std::string text;
  const Generation full = GenerateOnDemo(options, &text);
  CHECK(full.reason == FinishReason::kMaxTokens);
  CHECK(full.tokens.size() == 30);
  REQUIRE(text.size() > 30);

  std::string cut;
  options.max_tokens = -1;
  CHECK(GenerateOnDemo(options, &cut, 20).reason == FinishReason::kContextFull);
  CHECK(text.starts_with(cut));

  std::string stopped;
  options.max_tokens = 30;
  options.stop_strings = {text.substr(20, 4)};
  CHECK(GenerateOnDemo(options, &stopped).reason == FinishReason::kStopString);
  CHECK(stopped == text.substr(0, text.find(options.stop_strings[0])));

  std::string ended;
  options.stop_strings.clear();
  options.end_of_sequence = {full.tokens[10]};
  const Generation eos = GenerateOnDemo(options, &ended);
  CHECK(eos.reason == FinishReason::kEndOfSequence);
  CHECK(text.starts_with(ended));
  CHECK(eos.tokens.size() <= 10);
}

TEST_CASE("generation repeats with its seed; another sequence is another text") {
  GenerateOptions options{.max_tokens = 20};
  options.sampling.seed = 4;
  std::string text;
  const std::vector<TokenId> first = GenerateOnDemo(options, &text).tokens;
  CHECK(GenerateOnDemo(options, &text).tokens == first);
  options.sequence = 1;
  CHECK(GenerateOnDemo(options, &text).tokens != first);
}

}  // namespace
}  // namespace triforce
