#include "models/json_file.h"

#include <doctest/doctest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <filesystem>
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

// As the header of a checkpoint has them, which once took time by the square of their number: minutes, for these.
TEST_CASE("objects in one object, as many as there are") {
  constexpr int kObjects = 200'000;
  std::string text = "{";
  for (int i = 0; i < kObjects; ++i) text += "\"tensor " + std::to_string(i) + R"(": {"shape": [1]},)";
  text.back() = '}';
  const nlohmann::json parsed = ParseJson(text, "header");
  CHECK(parsed.size() == kObjects);
  CHECK(parsed.at("tensor 199999").at("shape").at(0) == 1);
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

TEST_CASE("NaN and Infinity are values of a model's file, and only values") {
  const auto error = [](std::string_view text) { return ErrorOf([&] { *Fields(text); }); };
  for (const char* text : {R"({"a":NaN})", R"({"a": Infinity , "b": [-Infinity,NaN]})", R"({"a": "x\\", "b": NaN})",
                           R"({"a": "\", NaN, \"", "b":
NaN
})"}) {
    CAPTURE(text);
    CHECK(error(text) == "no error");
  }
  // Behind such a value, offsets are still those of the file.
  CHECK(HasAll(error(R"({"a": NaN, "b": [NaN, 1,, 2]})"), {": byte 25: ", "unexpected ','"}));
  CHECK(HasAll(error(R"({"a": NaN, "a": 1})"), {"before byte 14: ", "a second time"}));
  for (const char* text : {R"({NaN: 1})", R"({"a": 1, NaN: 2})", R"({"a": NaNs})", R"({"a": -NaN})", R"({"a": 1NaN})",
                           R"({"a": nan})", R"({"a": inf})", R"({"a": NaN NaN})", R"({"a": +Infinity})"}) {
    CAPTURE(text);
    CHECK(HasAll(error(text), {"kInvalidInput ", "no JSON"}));
  }
  CHECK(HasAll(ParseError("[NaN]"), {"no JSON"}));  // no model's file
  CHECK(
      HasAll(error(R"({"a": )" + std::string(100, '[') + "NaN" + std::string(100, ']') + "}"), {"more than 64 deep"}));
}

TEST_CASE("a pipe, a device, a folder or a link to nothing in place of a model's file is refused, not waited for") {
  const ScratchDirectory directory;
  const std::string path = directory.path() + "/config.json";
  const auto error = [](const std::string& of) { return ErrorOf([&] { JsonObject::FromFile(of); }); };
  REQUIRE(::mkfifo(path.c_str(), 0600) == 0);
  CHECK(error(path) == "kIo " + path + ": is a pipe, expected a regular file");
  CHECK(error(directory.path()) == "kIo " + directory.path() + ": is a directory, expected a file");
  CHECK(error("/dev/zero") == "kIo /dev/zero: is a device, expected a regular file");
  const std::string link = directory.path() + "/link.json";
  REQUIRE(::symlink("../blobs/none", link.c_str()) == 0);
  CHECK(HasAll(error(link), {"kIo ", link + ": is a link to ../blobs/none, which does not exist"}));
  std::filesystem::remove(link);
  REQUIRE(::symlink(path.c_str(), link.c_str()) == 0);
  CHECK(HasAll(error(link), {"kIo ", "is a pipe"}));
  const std::filesystem::path before = std::filesystem::current_path();
  std::filesystem::current_path(directory.path());  // a socket's address is short
  const int socket = ::socket(AF_UNIX, SOCK_STREAM, 0);
  const sockaddr_un address{.sun_family = AF_UNIX, .sun_path = "socket"};
  CHECK(::bind(socket, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0);
  CHECK(HasAll(error("socket"), {"kIo socket: cannot be opened: "}));
  ::close(socket);
  std::filesystem::current_path(before);
}

TEST_CASE("Git LFS pointers, web pages and servers' messages in place of a model's file are told as what they are") {
  const auto error = [](std::string_view text) { return ErrorOf([&] { *Fields(text); }); };
  CHECK(HasAll(error("version https://git-lfs.github.com/spec/v1\noid sha256:9b\nsize 499723\n"),
               {"kInvalidInput ", "is a Git LFS pointer", "git lfs pull"}));
  CHECK(HasAll(error("# xet version 0\n"), {"is a Xet pointer", "hf download"}));
  CHECK(HasAll(error("<!doctype html>\n<html class=\"\">"), {"is a web page (HTML)", "resolve/main"}));
  CHECK(HasAll(error("\xef\xbb\xbf\r\n  <!DOCTYPE HTML>"), {"is a web page (HTML)"}));
  CHECK(HasAll(error("<html>"), {"is a web page (HTML)"}));
  CHECK(HasAll(error("<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code>"), {"is XML", "server's error"}));
  CHECK(HasAll(error("Entry not found"), {"server's message (Entry not found)"}));
  CHECK(HasAll(error("Invalid username or password."), {"Invalid username", "hf auth login"}));
  CHECK(HasAll(error("Access to model meta-llama/x is restricted."), {"access is restricted", "hf auth login"}));
  CHECK(HasAll(error(R"({"error":"Repository not found"})"), {"holds a server's error"}));
  CHECK(HasAll(error(std::string_view("GGUF\3\0\0\0", 8)), {"kUnsupported ", "is a GGUF file"}));
  CHECK(HasAll(error(std::string_view("PK\3\4\0\0", 6)), {"kUnsupported ", "is a zip archive"}));
}

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
