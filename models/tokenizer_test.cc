#include "models/tokenizer.h"

#include <doctest/doctest.h>

#include <nlohmann/json.hpp>
#include <random>

#include "models/json_file.h"
#include "models/scratch_directory.h"

namespace triforce {
namespace {

using Json = nlohmann::json;

constexpr const char* kDemo = "models/demo/target";

ModelConfig Model(int64_t vocab = 4096) { return {.vocab = vocab, .bos = TokenId{1}, .eos = {TokenId{2}}}; }

std::vector<TokenId> Ids(const Json& list) {
  std::vector<TokenId> ids;
  for (const Json& id : list) ids.push_back(TokenId{id.get<int32_t>()});
  return ids;
}

// A directory with the demo's tokenizer.model and `rules` for tokenizer_config.json (null: none).
class Directory {
 public:
  explicit Directory(const Json& rules) {
    directory_.Write("tokenizer.model", ReadFile(std::string(kDemo) + "/tokenizer.model"));
    if (!rules.is_null()) directory_.Write("tokenizer_config.json", rules.dump());
  }
  Tokenizer Read(const ModelConfig& model = Model()) const { return Tokenizer(directory_.path(), model); }
  std::string Error(const ModelConfig& model = Model()) const {
    return ErrorOf([&] { Read(model); });
  }

 private:
  ScratchDirectory directory_;
};

TEST_CASE("tricky strings have the ids that transformers gives them") {
  const Tokenizer tokenizer(kDemo, ReadModelConfig(kDemo));
  const Json goldens = ParseJson(ReadFile("tests/data/demo/goldens.json"), "goldens.json")["tokenizer"];
  REQUIRE(goldens.size() == 11);
  for (const Json& golden : goldens) {
    const std::string text = golden[0];
    CAPTURE(text);
    const std::vector<TokenId> ids = Ids(golden[1]);
    CHECK(tokenizer.EncodeText(text) == ids);
    std::vector<TokenId> with_bos = ids;
    with_bos.insert(with_bos.begin(), TokenId{1});
    CHECK(tokenizer.Encode(text) == with_bos);
    CHECK(tokenizer.Decode(ids) == text);
    CHECK(tokenizer.Decode(with_bos) == text);
  }
}

TEST_CASE("BOS and EOS as tokenizer_config.json says, or as LlamaTokenizer's defaults") {
  const auto ends = [](const Json& rules) {
    const std::vector<TokenId> ids = Directory(rules).Read().Encode("a");
    return std::pair(ids.front() == TokenId{1}, ids.back() == TokenId{2});
  };
  CHECK(ends(nullptr) == std::pair(true, false));
  CHECK(ends(Json::object()) == std::pair(true, false));
  CHECK(ends({{"add_bos_token", false}}) == std::pair(false, false));
  CHECK(ends({{"add_eos_token", true}}) == std::pair(true, true));
  CHECK(
      ends({{"bos_token", {{"content", "<s>"}, {"lstrip", false}}}, {"eos_token", "</s>"}, {"add_eos_token", true}}) ==
      std::pair(true, true));
  CHECK(Directory(nullptr).Read().Encode("") == std::vector{TokenId{1}});
}

TEST_CASE("text is text, whatever it looks like") {
  const Tokenizer tokenizer(kDemo, Model());
  const std::vector<TokenId> ids = tokenizer.EncodeText("<s></s><unk><0x41>");
  for (const TokenId id : ids) CHECK(ToInt(id) > 2);
  CHECK(tokenizer.Decode(ids) == "<s></s><unk><0x41>");
}

TEST_CASE("ids past the pieces have no text") {
  const Tokenizer tokenizer(kDemo, Model(5000));
  CHECK(tokenizer.pieces() == 4096);
  std::vector<TokenId> ids = tokenizer.EncodeText("some text");
  ids.insert(ids.begin() + 1, {TokenId{4096}, TokenId{4999}, TokenId{INT32_MAX}, TokenId{-1}});
  CHECK(tokenizer.Decode(ids) == "some text");
}

TEST_CASE("text that is not UTF-8 is refused with the offset of its first such byte") {
  const Tokenizer tokenizer(kDemo, Model());
  const auto error = [&](std::string_view text) { return ErrorOf([&] { tokenizer.Encode(text); }); };
  CHECK(HasAll(error("abc\xff"), {"kInvalidInput ", "byte 3", "0xff"}));
  CHECK(HasAll(error("\x80"), {"byte 0"}));                     // a continuation first
  CHECK(HasAll(error("é\xc3"), {"byte 2"}));                    // cut short
  CHECK(HasAll(error("a\xc0\xaf"), {"byte 1"}));                // overlong
  CHECK(HasAll(error("ab\xed\xa0\x80"), {"byte 2"}));           // a surrogate
  CHECK(HasAll(error("\xf4\x90\x80\x80"), {"byte 0"}));         // past U+10FFFF
  CHECK(error(std::string_view("a\0b", 3)) == "no error");      // U+0000 is a character
  CHECK(error("\xf4\x8f\xbf\xbf \xed\x9f\xbf") == "no error");  // the last ones that there are
}

TEST_CASE("a tokenizer that disagrees with the model") {
  CHECK(HasAll(Directory(nullptr).Error(Model(4000)),
               {"kInvalidInput ", "/tokenizer.model: found 4096 pieces, expected at most 4000"}));
  // Without a place in the model's embedding, BOS cannot be put before a text.
  const Json far = {{"bos_token", "<far>"}, {"added_tokens_decoder", {{"4096", {{"content", "<far>"}}}}}};
  CHECK(HasAll(Directory(far).Error(), {"kInvalidInput ", "/tokenizer.model: found bos token 4096", "4096"}));
  CHECK(Directory(far).Error(Model(4097)) == "no error");
}

TEST_CASE("JackFram/llama-68m, with BOS 0 in config.json and 1 in the tokenizer: the tokenizer's is taken, and told") {
  ModelConfig other = Model();
  other.bos = TokenId{0};
  const Tokenizer tokenizer = Directory(nullptr).Read(other);
  CHECK(tokenizer.Encode("a").front() == TokenId{1});
  REQUIRE(tokenizer.notes().size() == 1);
  CHECK(HasAll(tokenizer.notes()[0], {"/tokenizer.model: bos is token 1, and in config.json 0: the tokenizer's is"}));
  // Nothing is told where nothing is put around a text, where both agree, or where config.json does not say.
  CHECK(Directory(Json{{"add_bos_token", false}}).Read(other).notes().empty());
  CHECK(Directory(nullptr).Read().notes().empty());
  other.bos.reset();
  CHECK(Directory(nullptr).Read(other).notes().empty());
  // EOS the same, where the tokenizer adds one.
  other.eos = {TokenId{7}, TokenId{8}};
  CHECK(Directory(nullptr).Read(other).notes().empty());
  const Tokenizer with_eos = Directory(Json{{"add_eos_token", true}}).Read(other);
  CHECK(with_eos.Encode("a").back() == TokenId{2});
  REQUIRE(with_eos.notes().size() == 1);
  CHECK(HasAll(with_eos.notes()[0], {"eos is token 2, and in config.json 7"}));
  other.eos.push_back(TokenId{2});
  CHECK(Directory(Json{{"add_eos_token", true}}).Read(other).notes().empty());
}

TEST_CASE("tokens added to the pieces have their text, unless they are special") {
  using Kind = Tokenizer::Piece::Kind;
  const auto added = [](const char* text, bool special) { return Json{{"content", text}, {"special", special}}; };
  const auto check = [](const Tokenizer& tokenizer, int32_t id, Kind kind, const std::string& text = "") {
    CAPTURE(id);
    const Tokenizer::Piece piece = tokenizer.PieceOf(TokenId{id});
    CHECK(piece.kind == kind);
    CHECK(piece.text == text);
    CHECK_FALSE(piece.may_begin_text);
  };
  const Json decoder = {{"1", added("<s>", true)},           {"4096", added("<|im_start|>", false)},
                        {"4097", added("<|im_end|>", true)}, {"4098", added(" spaced ", false)},
                        {"4099", added("<pad>", false)},     {"4100", added("<tool>", false)}};
  const Json rules = {{"added_tokens_decoder", decoder},
                      {"pad_token", "<pad>"},
                      {"additional_special_tokens", {{{"content", "<tool>"}}}}};
  const Tokenizer tokenizer = Directory(rules).Read(Model(5000));
  check(tokenizer, 4096, Kind::kText, "<|im_start|>");
  check(tokenizer, 4097, Kind::kControl);
  check(tokenizer, 4098, Kind::kText, " spaced ");
  check(tokenizer, 4099, Kind::kControl);  // named as a special token's
  check(tokenizer, 4100, Kind::kControl);
  check(tokenizer, 4101, Kind::kNothing);
  check(tokenizer, 1, Kind::kControl);
  CHECK(tokenizer.EncodeText("<|im_start|>").size() > 1);  // typed, it is letters

  // The older files: added_tokens.json and special_tokens_map.json.
  const ScratchDirectory older;
  older.Write("tokenizer.model", ReadFile(std::string(kDemo) + "/tokenizer.model"));
  older.Write("added_tokens.json", R"({"<|im_start|>": 4096, "<|im_end|>": 4097, "<s>": 1})");
  older.Write("special_tokens_map.json", R"({"eos_token": {"content": "<|im_end|>"}})");
  const Tokenizer old(older.path(), Model(5000));
  check(old, 4096, Kind::kText, "<|im_start|>");
  check(old, 4097, Kind::kControl);
  older.Write("added_tokens.json", R"({"<|im_start|>": -1})");
  CHECK(HasAll(ErrorOf([&] { Tokenizer(older.path(), Model(5000)); }), {"added_tokens.json: <|im_start|>: found -1"}));
  CHECK(HasAll(Directory(Json{{"added_tokens_decoder", {{"x", added("a", true)}}}}).Error(),
               {"added_tokens_decoder: x: ", "expected an id"}));
  CHECK(HasAll(Directory(Json{{"added_tokens_decoder", {{"4096", "a"}}}}).Error(), {"4096: found \"a\", expected an"}));
}

TEST_CASE("rules that make no sense") {
  CHECK(HasAll(Directory(Json{{"add_bos_token", "yes"}}).Error(),
               {"kInvalidInput ", "tokenizer_config.json: add_bos_token: found \"yes\", expected true or false"}));
  CHECK(
      HasAll(Directory(Json{{"bos_token", "<none>"}}).Error(), {"tokenizer_config.json: bos_token: found \"<none>\""}));
  CHECK(HasAll(Directory(Json{{"bos_token", 1}}).Error(), {"tokenizer_config.json: bos_token: found 1"}));
  CHECK(HasAll(Directory(Json{{"bos_token", Json::object()}}).Error(), {"bos_token: content: found nothing"}));
}

TEST_CASE("files that are missing, empty or cut short") {
  const ScratchDirectory directory;
  const auto error = [&] { return ErrorOf([&] { Tokenizer tokenizer(directory.path(), Model()); }); };
  CHECK(HasAll(error(), {"kIo ", directory.path() + "/tokenizer.model", "--ids"}));
  CHECK_FALSE(Tokenizer::Exists(directory.path()));
  directory.Write("tokenizer.json", "{}");
  CHECK(HasAll(error(), {"kUnsupported ", directory.path(), "tokenizer.json", "tokenizer.model"}));
  directory.Write("tokenizer.model", "");
  CHECK(Tokenizer::Exists(directory.path()));
  CHECK(HasAll(error(), {"kInvalidInput ", "/tokenizer.model: "}));
  directory.Write("tokenizer.model", "IQ== 0\nIg== 1\nIw== 2\n");
  CHECK(HasAll(error(), {"kUnsupported ", "/tokenizer.model: is a tiktoken vocabulary, as Llama 3's is", "--ids"}));
  directory.Write("tokenizer.model", "{\n  \"version\": \"1.0\"");
  CHECK(HasAll(error(), {"kUnsupported ", "is JSON, as tokenizer.json is", "--ids"}));
  directory.Write("tokenizer.model", "version https://git-lfs.github.com/spec/v1\noid sha256:9b\nsize 499723\n");
  CHECK(HasAll(error(), {"kInvalidInput ", "/tokenizer.model: is a Git LFS pointer"}));
  directory.Write("tokenizer.model", "<!doctype html>\n<html>");
  CHECK(HasAll(error(), {"kInvalidInput ", "/tokenizer.model: is a web page (HTML)"}));
  for (const std::string text : {"wor 1\n", "a-b= 1\n", "IQ== \n", "IQ== x\n", "IQ==\n"}) {  // none of tiktoken's
    directory.Write("tokenizer.model", text);
    CHECK(HasAll(error(), {"kInvalidInput ", "found no sentencepiece model"}));
  }
  const std::string whole = ReadFile(std::string(kDemo) + "/tokenizer.model");
  directory.Write("tokenizer.model", whole.substr(0, whole.size() / 2));
  CHECK(HasAll(error(), {"kInvalidInput ", "/tokenizer.model: "}));
}

// Whatever the bytes: a tokenizer or an Error.
TEST_CASE("flipped and missing bytes") {
  const uint32_t seed = std::random_device()();
  MESSAGE("seed " << seed);
  std::mt19937 random(seed);
  const std::string whole = ReadFile(std::string(kDemo) + "/tokenizer.model");
  const ScratchDirectory directory;
  int64_t refused = 0;
  for (int round = 0; round < 200; ++round) {
    std::string bytes = whole.substr(0, round % 4 == 0 ? random() % whole.size() : whole.size());
    for (int flips = 0; flips < 20 && !bytes.empty(); ++flips) bytes[random() % bytes.size()] ^= 1 << random() % 8;
    directory.Write("tokenizer.model", bytes);
    refused += ErrorOf([&] { Tokenizer tokenizer(directory.path(), Model()); }) != "no error";
  }
  CHECK(refused > 20);
}

}  // namespace
}  // namespace triforce
