#include "models/json_file.h"

#include <doctest/doctest.h>

#include <nlohmann/json.hpp>

#include "models/scratch_directory.h"

namespace triforce {
namespace {

std::string ParseError(std::string_view text) {
  return ErrorOf([&] { ParseJson(text, "list.json"); });
}

TEST_CASE("what is no JSON is refused with the byte where it stops being it") {
  CHECK(HasAll(ParseError(""), {"kInvalidInput list.json: byte 0: ", "no JSON", "unexpected end of input"}));
  CHECK(HasAll(ParseError(R"({"a": 1,, "b": 2})"), {"list.json: byte 9: ", "unexpected ','"}));
  CHECK(HasAll(ParseError(R"({"a": NaN})"), {"list.json: byte 7: ", "invalid literal"}));
  CHECK(HasAll(ParseError(R"({"a": 1} x)"), {"list.json: byte 10: ", "expected end of input"}));
  CHECK(HasAll(ParseError("\"\xff\""), {"list.json: byte 2: ", "ill-formed UTF-8"}));
  CHECK(HasAll(ParseError("[1e999]"), {"list.json: byte ", "number overflow"}));
  CHECK(ParseError("[1]\n").find("json.exception") == std::string::npos);
  CHECK(ParseError("[").find("json.exception") == std::string::npos);
}

TEST_CASE("a key that stands twice is refused, wherever it is") {
  CHECK(HasAll(ParseError(R"({"a": 1, "a": 2})"), {"kInvalidInput list.json: before byte 12: ", "\"a\"", "once"}));
  CHECK(HasAll(ParseError(R"([{"x": {"a": 1, "b": {}, "a": 2}}])"), {"list.json: before byte 28: ", "\"a\""}));
  CHECK(ParseError(R"({"a": {"a": 1}, "b": [{"a": 1}, {"a": 1}]})") == "no error");
}

TEST_CASE("depth has a limit, and one that real files do not reach") {
  const auto nested = [](int depth) { return std::string(depth, '[') + std::string(depth, ']'); };
  CHECK(ParseError(nested(kMaxJsonDepth)) == "no error");
  CHECK(HasAll(ParseError(nested(kMaxJsonDepth + 2)), {"list.json: before byte ", "more than 64 deep"}));
  CHECK(HasAll(ParseError(nested(1'000'000)), {"more than 64 deep"}));
  std::string objects;
  for (int i = 0; i < 100'000; ++i) objects += R"({"a":)";
  CHECK(HasAll(ParseError(objects), {"more than 64 deep"}));
}

TEST_CASE("files that cannot be read are errors of the system, with its reason") {
  const ScratchDirectory directory;
  CHECK(HasAll(ErrorOf([&] { ReadFile(directory.path() + "/none.json"); }),
               {"kIo ", directory.path() + "/none.json: ", "No such file or directory"}));
  CHECK(HasAll(ErrorOf([&] { ReadFile(directory.path()); }), {"kIo ", directory.path(), "is a directory"}));
  const std::string path = directory.Write("long.json", std::string(1001, ' '));
  CHECK(ReadFile(path, 1001).size() == 1001);
  CHECK(HasAll(ErrorOf([&] { ReadFile(path, 1000); }), {"kInvalidInput ", path, "larger than 1000 bytes"}));
}

class Fields {
 public:
  explicit Fields(std::string_view text) : file_(directory_.Write("config.json", text)) {}
  const std::string& file() const { return file_; }
  JsonObject operator*() const { return JsonObject::FromFile(file_); }

 private:
  ScratchDirectory directory_;
  std::string file_;
};

TEST_CASE("a file that holds no object") {
  const Fields list("[1, 2]");
  CHECK(HasAll(ErrorOf([&] { *list; }), {"kInvalidInput ", list.file(), "found [1,2], expected a JSON object"}));
}

TEST_CASE("getters give values and fallbacks") {
  const Fields fields(R"({"i": -3, "n": 2.5, "whole": 2, "b": true, "s": "x", "none": null, "o": {"i": 4}})");
  const JsonObject object = *fields;
  CHECK(object.Int("i", -3, 3) == -3);
  CHECK(object.Int("missing", 0, 3, 7) == 7);
  CHECK(object.Int("none", 0, 3, 7) == 7);
  CHECK(object.Number("n", 0, 3) == 2.5);
  CHECK(object.Number("whole", 0, 3) == 2.0);
  CHECK(object.Bool("b"));
  CHECK(object.String("s") == "x");
  CHECK(object.String("none", "y") == "y");
  CHECK(object.Object("o").Int("i", 0, 9) == 4);
  CHECK_FALSE(object.Has("none"));
}

TEST_CASE("getters name file, field, what was found and what was expected") {
  const Fields fields(R"({"i": -3, "huge": 18446744073709551615, "n": "2.5", "o": {"b": 1}, "s": [1], "none": null})");
  const JsonObject object = *fields;
  const std::string file = "kInvalidInput " + fields.file();
  CHECK(ErrorOf([&] { object.Int("i", 1, 9); }) == file + ": i: found -3, expected an integer from 1 to 9");
  CHECK(HasAll(ErrorOf([&] { object.Int("huge", 1, INT64_MAX); }), {file, "huge: found 18446744073709551615"}));
  CHECK(HasAll(ErrorOf([&] { object.Int("none", 1, 9); }), {file, "none: found null, expected an integer"}));
  CHECK(HasAll(ErrorOf([&] { object.Int("missing", 1, 9); }), {file, "missing: found nothing, expected an integer"}));
  CHECK(HasAll(ErrorOf([&] { object.Number("n", 0, 3); }), {file, "n: found \"2.5\", expected a number from 0 to 3"}));
  CHECK(HasAll(ErrorOf([&] { object.Number("n", 0, 3, 1.0); }), {"n: found \"2.5\""}));
  CHECK(HasAll(ErrorOf([&] { object.Object("o").Bool("b"); }), {file, "o: b: found 1, expected true or false"}));
  CHECK(HasAll(ErrorOf([&] { object.String("s"); }), {file, "s: found [1], expected a string"}));
  CHECK(HasAll(ErrorOf([&] { object.Object("i"); }), {file, "i: found -3, expected an object"}));
}

}  // namespace
}  // namespace triforce
