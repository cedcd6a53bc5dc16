#include "models/detokenizer.h"

#include <doctest/doctest.h>
#include <sentencepiece_processor.h>

#include <cstdio>
#include <memory>
#include <random>

#include "models/json_file.h"
#include "models/scratch_directory.h"

namespace triforce {
namespace {

// A tokenizer, and beside it sentencepiece itself with the same file.
struct Pair {
  explicit Pair(const std::string& file) {
    directory.Write("tokenizer.model", ReadFile(file));
    tokenizer = std::make_unique<Tokenizer>(directory.path(), ModelConfig{.vocab = 4096});
    REQUIRE(processor.Load(file).ok());
  }
  int Byte(int value) const { return processor.PieceToId(ByteName(value)); }
  static std::string ByteName(int value) {
    char text[8];
    std::snprintf(text, sizeof(text), "<0x%02X>", value);
    return text;
  }

  ScratchDirectory directory;
  std::unique_ptr<Tokenizer> tokenizer;
  sentencepiece::SentencePieceProcessor processor;
};

// What comes for each of `ids`, and at the end.
std::vector<std::string> Stream(const Pair& pair, const std::vector<int>& ids, bool begins_text) {
  Detokenizer detokenizer(*pair.tokenizer, begins_text);
  std::vector<std::string> parts;
  for (int id : ids) parts.push_back(detokenizer.Add(TokenId{id}));
  parts.push_back(detokenizer.Finish());
  return parts;
}

std::string Join(const std::vector<std::string>& parts) {
  std::string text;
  for (const std::string& part : parts) text += part;
  return text;
}

// Ids that meet often what is hard: bytes, of characters and of none, control tokens, <unk>, spaces alone.
std::vector<int> RandomIds(const Pair& pair, std::mt19937& random) {
  const int space = pair.processor.PieceToId("\xe2\x96\x81");
  std::vector<int> ids(random() % 12);
  for (int& id : ids) {
    switch (random() % 8) {
      case 0:
      case 1:
        id = pair.Byte(random() % 256);
        break;
      case 2: {  // likely beginnings and middles
        constexpr int kLikely[] = {0xe2, 0x96, 0x81, 0xf0, 0x9f, 0x98, 0x80, 0xc3,
                                   0xa9, 0xed, 0xa0, 0xf4, 0x90, 0xe0, 0x41};
        id = pair.Byte(kLikely[random() % std::size(kLikely)]);
        break;
      }
      case 3:
        id = static_cast<int>(random() % 3);  // <unk>, <s>, </s>
        break;
      case 4:
        id = space;
        break;
      default:
        id = static_cast<int>(random() % pair.processor.GetPieceSize());
    }
  }
  return ids;
}

// keeps_spaces: add_dummy_prefix=False; drops_spaces: remove_extra_whitespaces=True. Both by sentencepiece 0.2.3's
// SentencePieceTrainer on The_Time_Machine.txt with vocab_size=400, model_type="bpe", byte_fallback=True,
// normalization_rule_name="identity", allow_whitespace_only_pieces=True.
constexpr const char* kModels[] = {"models/demo/target/tokenizer.model", "models/testdata/keeps_spaces.model",
                                   "models/testdata/drops_spaces.model"};

TEST_CASE("all that comes is what sentencepiece decodes, in whole characters") {
  const uint32_t seed = std::random_device()();
  MESSAGE("seed " << seed);
  std::mt19937 random(seed);
  for (const char* model : kModels) {
    CAPTURE(model);
    const Pair pair(model);
    for (int round = 0; round < 10000; ++round) {
      const std::vector<int> ids = RandomIds(pair, random);
      std::string list;
      for (int id : ids) list += std::to_string(id) + " ";
      CAPTURE(list);
      const std::vector<std::string> parts = Stream(pair, ids, /*begins_text=*/true);
      REQUIRE(Join(parts) == pair.processor.DecodeIds(ids));
      for (const std::string& part : parts) REQUIRE_FALSE(FindInvalidUtf8(part));
      // Behind a letter, as the continuation of a text.
      std::vector<int> longer = ids;
      longer.insert(longer.begin(), pair.processor.PieceToId("e"));
      REQUIRE("e" + Join(Stream(pair, ids, /*begins_text=*/false)) == pair.processor.DecodeIds(longer));
    }
  }
}

TEST_CASE("a character comes with its last byte, and what can be none as soon as that is known") {
  const Pair pair(kModels[0]);
  const std::string bad = "\xef\xbf\xbd";
  const auto parts = [&](const std::vector<int>& bytes) {
    std::vector<int> ids;
    for (int byte : bytes) ids.push_back(pair.Byte(byte));
    return Stream(pair, ids, false);
  };
  using Parts = std::vector<std::string>;
  CHECK(parts({0xf0, 0x9f, 0x99, 0x82}) == Parts{"", "", "", "🙂", ""});
  CHECK(parts({0xc3, 0xa9, 0x41}) == Parts{"", "é", "A", ""});
  CHECK(parts({0xc0, 0x41}) == Parts{bad, "A", ""});
  CHECK(parts({0xe2, 0x41}) == Parts{"", bad + "A", ""});
  CHECK(parts({0xed, 0xa0, 0x80}) == Parts{"", bad + bad, bad, ""});
  CHECK(parts({0xe2, 0x96}) == Parts{"", "", bad + bad});
  CHECK(parts({0xe2, 0x96, 0x81}) == Parts{"", "", "\xe2\x96\x81", ""});  // not a space: it was written in bytes
}

TEST_CASE("the space before a text goes where it begins, and stays where it continues") {
  const Pair pair(kModels[0]);
  const std::vector<int> ids = pair.processor.EncodeAsIds("Hello, world!");
  CHECK(Join(Stream(pair, ids, true)) == "Hello, world!");
  CHECK(Join(Stream(pair, ids, false)) == " Hello, world!");
}

TEST_CASE("a token added to the pieces gives its text, and ends a byte sequence") {
  const Pair pair(kModels[0]);
  pair.directory.Write("tokenizer_config.json", R"({"added_tokens_decoder": {
      "4096": {"content": "<|im_start|>", "special": false}, "4097": {"content": "<|im_end|>", "special": true}}})");
  const Tokenizer tokenizer(pair.directory.path(), ModelConfig{.vocab = 4098});
  std::vector<int> ids = pair.processor.EncodeAsIds("Hello");
  ids.insert(ids.begin(), {4096, pair.Byte(0xe2), 4096});
  ids.insert(ids.end(), {4097, 4096});
  Detokenizer detokenizer(tokenizer, /*begins_text=*/true);
  std::string text;
  for (const int id : ids) text += detokenizer.Add(TokenId{id});
  CHECK(text + detokenizer.Finish() == "<|im_start|>\xef\xbf\xbd<|im_start|> Hello<|im_start|>");
}

TEST_CASE("control tokens and ids past the pieces have no text") {
  const Pair pair(kModels[0]);
  for (int id : {1, 2, 4096, 5000, INT32_MAX, -1}) CHECK(Join(Stream(pair, {id}, false)).empty());
  // A byte sequence ends at a control token.
  CHECK(Stream(pair, {pair.Byte(0xe2), 1, pair.Byte(0x96)}, false) ==
        std::vector<std::string>{"", "\xef\xbf\xbd", "\xef\xbf\xbd", ""});
}

}  // namespace
}  // namespace triforce
