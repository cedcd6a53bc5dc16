#include "models/safetensors.h"

#include <doctest/doctest.h>

#include <cstring>
#include <filesystem>
#include <random>

#include "models/json_file.h"
#include "models/scratch_directory.h"

namespace triforce {
namespace {

// A file's bytes: length, header, data.
std::string Bytes(std::string_view header, std::string_view data) {
  const uint64_t length = header.size();
  std::string bytes(sizeof(length), '\0');
  std::memcpy(bytes.data(), &length, sizeof(length));
  return bytes.append(header).append(data);
}

// What reading a file with `bytes` throws.
std::string ReadError(std::string_view bytes) {
  const ScratchDirectory directory;
  const std::string path = directory.Write("x.safetensors", bytes);
  const std::string error = ErrorOf([&] { SafetensorsFile file(path); });
  if (error != "no error") CHECK(HasAll(error, {path}));
  return error;
}

// Two tensors, a of 8 bytes and b of 4, with `a` and `b` for their entries, and 12 bytes of data.
std::string EntriesError(std::string_view a, std::string_view b, int64_t data_bytes = 12) {
  std::string header = R"({"a":)";
  header.append(a).append(R"(,"b":)").append(b).append("}");
  return ReadError(Bytes(header, std::string(data_bytes, 'x')));
}

constexpr std::string_view kA = R"({"dtype":"F16","shape":[2,2],"data_offsets":[0,8]})";
constexpr std::string_view kB = R"({"dtype":"F32","shape":[1],"data_offsets":[8,12]})";

std::vector<float> Floats(const TensorRecord& record) {
  std::vector<float> values(record.elements());
  std::memcpy(values.data(), record.data.data(), record.data.size());
  return values;
}

TEST_CASE("a file as the format's page describes it") {
  CHECK(EntriesError(kA, kB) == "no error");
  const ScratchDirectory directory;
  const std::string header =
      R"({"__metadata__":{"format":"pt"},"scalar":{"dtype":"F32","shape":[],"data_offsets":[0,4]},)"
      R"("none":{"dtype":"F16","shape":[3,0],"data_offsets":[4,4]},)"
      R"("fp8":{"dtype":"F8_E4M3","shape":[3],"data_offsets":[4,7]}}   )";
  const SafetensorsFile file(directory.Write("x", Bytes(header, std::string("\0\0\x80\x3f\x01\x02\x03", 7))));
  REQUIRE(file.tensors().size() == 3);
  CHECK(Floats(*file.Find("scalar")) == std::vector{1.0f});
  CHECK(file.Find("none")->shape == std::vector<int64_t>{3, 0});
  CHECK(file.Find("none")->elements() == 0);
  CHECK_FALSE(file.Find("fp8")->dtype);
  CHECK(file.Find("fp8")->dtype_name == "F8_E4M3");
  CHECK(file.Find("fp8")->data[2] == std::byte{3});
  CHECK(file.Find("__metadata__") == nullptr);
  CHECK(ReadError(Bytes("{}", "")) == "no error");
}

// Written by the safetensors package, by way of transformers.
TEST_CASE("goldens are read") {
  const SafetensorsFile file("tests/data/tiny/plain/golden.safetensors");
  CHECK(file.Find("input_ids")->dtype_name == "I64");
  const TensorRecord* logits = file.Find("logits");
  REQUIRE(logits != nullptr);
  CHECK(logits->dtype == DType::kF32);
  CHECK(logits->shape.at(1) == 320);
}

TEST_CASE("a file that is cut short, at every byte") {
  const std::string whole = Bytes(R"({"a":)" + std::string(kA) + R"(,"b":)" + std::string(kB) + "}", "123456789012");
  CHECK(ReadError(whole) == "no error");
  for (size_t bytes = 0; bytes < whole.size(); ++bytes) {
    CAPTURE(bytes);
    CHECK(HasAll(ReadError(whole.substr(0, bytes)), {"kInvalidInput "}));
  }
  CHECK(HasAll(ReadError(whole.substr(0, whole.size() - 1)),
               {"data_offsets: found [8,12]", "the 11 bytes", "cut short"}));
  CHECK(HasAll(ReadError(whole + "x"), {"found 13 bytes behind the header, expected 12"}));
}

TEST_CASE("a header's length that lies") {
  const auto error = [](uint64_t length) {
    std::string bytes = Bytes("{}", "");
    std::memcpy(bytes.data(), &length, sizeof(length));
    return ReadError(bytes);
  };
  CHECK(HasAll(error(3), {"offset 0, is 3, expected 2 to 2; the file has 10 bytes"}));
  CHECK(HasAll(error(UINT64_MAX), {"offset 0, is 18446744073709551615, expected 2 to 2"}));
  CHECK(HasAll(error(UINT64_MAX - 7), {"offset 0, is 18446744073709551608"}));
  CHECK(HasAll(error(0), {"offset 0, is 0"}));
  CHECK(HasAll(ReadError("1234567"), {"has 7 bytes, expected at least 8"}));
  // Beyond the format's limit, though the file is as long as it says. Sparse: it costs no disk.
  const ScratchDirectory directory;
  const std::string path = directory.Write("x", std::string("\x01\xe1\xf5\x05\0\0\0\0", 8));
  std::filesystem::resize_file(path, 100'000'100);
  CHECK(HasAll(ErrorOf([&] { SafetensorsFile file(path); }), {"is 100000001, expected 2 to 100000000"}));
}

TEST_CASE("a header that is no JSON, or the wrong JSON") {
  CHECK(HasAll(ReadError(Bytes("{\"a\":", "")), {"x.safetensors: header: byte 5: ", "unexpected end"}));
  CHECK(HasAll(ReadError(Bytes("[1]", "")), {"header: ", "no JSON object"}));
  CHECK(HasAll(ReadError(Bytes(std::string(100'000, '['), "")), {"header: before byte ", "more than 64 deep"}));
  CHECK(HasAll(ReadError(Bytes(R"({"a":)" + std::string(kA) + R"(,"a":)" + std::string(kA) + "}", "12345678")),
               {"header: before byte ", "the key \"a\" stands a second time"}));
  CHECK(HasAll(ReadError(Bytes("{\"\xff\":1}", "")), {"header: byte 3", "UTF-8"}));
}

TEST_CASE("an entry that lacks a field or has it wrong") {
  CHECK(HasAll(EntriesError("7", kB), {"tensor \"a\": dtype: found nothing, expected"}));
  CHECK(HasAll(EntriesError(R"({"dtype":"F16","shape":[4]})", kB), {"tensor \"a\": data_offsets: found nothing"}));
  CHECK(HasAll(EntriesError(R"({"dtype":"F17","shape":[4],"data_offsets":[0,8]})", kB),
               {"tensor \"a\": dtype: found \"F17\", expected a type"}));
  CHECK(
      HasAll(EntriesError(R"({"dtype":16,"shape":[4],"data_offsets":[0,8]})", kB), {"tensor \"a\": dtype: found 16"}));
  for (const char* shape : {"4", "[-4]", "[4.0]", "[\"4\"]", "[[4]]", "[18446744073709551615]", "{}", "null"}) {
    CHECK(HasAll(EntriesError(R"({"dtype":"F16","data_offsets":[0,8],"shape":)" + std::string(shape) + "}", kB),
                 {"tensor \"a\": shape: found " + std::string(shape) + ", expected "}));
  }
  for (const char* offsets : {"8", "[8]", "[0,8,8]", "[-1,7]", "[0,8.0]", "[\"0\",8]"}) {
    CHECK(HasAll(EntriesError(R"({"dtype":"F16","shape":[4],"data_offsets":)" + std::string(offsets) + "}", kB),
                 {"tensor \"a\": data_offsets: found " + std::string(offsets) + ", expected [begin, end]"}));
  }
}

TEST_CASE("a shape whose product overflows, also where a zero hides it") {
  for (const char* shape : {"[4294967296,4294967296]", "[9223372036854775807,2]",
                            "[4294967296,4294967296,4294967296,0]", "[0,4294967296,4294967296,4294967296]"}) {
    CHECK(HasAll(EntriesError(R"({"dtype":"U8","data_offsets":[0,0],"shape":)" + std::string(shape) + "}", kB),
                 {"tensor \"a\": shape: found " + std::string(shape), "fits 63 bits"}));
  }
}

TEST_CASE("offsets that lie: sizes, overlaps, holes") {
  const auto a = [](std::string_view offsets) {
    return R"({"dtype":"F16","shape":[2,2],"data_offsets":)" + std::string(offsets) + "}";
  };
  CHECK(HasAll(EntriesError(a("[0,6]"), kB),
               {"tensor \"a\": data_offsets: found 6 bytes, expected 8 bytes for F16 [2, 2]"}));
  CHECK(HasAll(EntriesError(a("[8,0]"), kB),
               {"tensor \"a\": data_offsets: found [8,0], expected a range within the 12"}));
  CHECK(HasAll(EntriesError(a("[8,16]"), kB), {"data_offsets: found [8,16], expected a range within the 12"}));
  CHECK(HasAll(EntriesError(a("[18446744073709551608,18446744073709551615]"), kB), {"expected a range within"}));
  CHECK(HasAll(EntriesError(a("[2,10]"), kB), {"tensor \"a\": data_offsets: found begin 2, expected 0", "hole"}));
  CHECK(HasAll(EntriesError(a("[4,12]"), kB), {"data_offsets", "expected"}));
  CHECK(HasAll(EntriesError(kA, R"({"dtype":"F32","shape":[1],"data_offsets":[4,8]})", 8),
               {"tensor \"b\": data_offsets: found begin 4, expected 8", "overlap"}));
  CHECK(HasAll(EntriesError(kA, R"({"dtype":"F32","shape":[1],"data_offsets":[12,16]})", 16),
               {"tensor \"b\": data_offsets: found begin 12, expected 8", "hole"}));
}

// The other way round, by hand (2026-11-23, safetensors 0.8.0): load_file() of what this test writes gives the same
// numbers: python -c 'import safetensors.numpy as s; print(s.load_file("logits.safetensors"))'
TEST_CASE("what is written row by row is read back") {
  const ScratchDirectory directory;
  const std::string path = directory.path() + "/logits.safetensors";
  SafetensorsWriter writer(path, "logits", {3, 2});
  for (int row = 0; row < 3; ++row) writer.Append(std::vector{row + 0.5f, -row / 3.0f});
  CHECK(directory.files() == 1);
  CHECK_FALSE(std::filesystem::exists(path));
  writer.Finish();
  CHECK(directory.files() == 1);
  const SafetensorsFile file(path);
  REQUIRE(file.Find("logits") != nullptr);
  CHECK(file.Find("logits")->dtype == DType::kF32);
  CHECK(file.Find("logits")->shape == std::vector<int64_t>{3, 2});
  CHECK(Floats(*file.Find("logits")) == std::vector{0.5f, -0.0f, 1.5f, -1 / 3.0f, 2.5f, -2 / 3.0f});
  // As the format asks, so that readers need not copy.
  CHECK(reinterpret_cast<uintptr_t>(file.Find("logits")->data.data()) % 8 == 0);
}

TEST_CASE("a writer that does not finish leaves what was there") {
  const ScratchDirectory directory;
  const std::string path = directory.Write("logits.safetensors", "old");
  {
    SafetensorsWriter writer(path, "logits", {3, 2});
    writer.Append(std::vector{1.0f, 2.0f});
  }
  CHECK(ReadFile(path) == "old");
  CHECK(directory.files() == 1);
}

// Whatever the bytes: tensors that lie within the file, or an Error.
TEST_CASE("flipped and missing bytes") {
  const uint32_t seed = std::random_device()();
  MESSAGE("seed " << seed);
  std::mt19937 random(seed);
  const std::string whole = Bytes(R"({"a":)" + std::string(kA) + R"(,"b":)" + std::string(kB) + "}", "123456789012");
  const ScratchDirectory directory;
  const std::string path = directory.path() + "/x.safetensors";
  int64_t read = 0;
  for (int round = 0; round < 5000; ++round) {
    std::string bytes = whole.substr(0, round % 8 == 0 ? random() % whole.size() : whole.size());
    for (uint32_t flips = random() % 4; flips > 0 && !bytes.empty(); --flips) {
      bytes[random() % bytes.size()] ^= static_cast<char>(1 << random() % 8);
    }
    directory.Write("x.safetensors", bytes);
    try {
      const SafetensorsFile file(path);
      int sum = 0;
      for (const TensorRecord& tensor : file.tensors()) {
        for (const std::byte b : tensor.data) sum += static_cast<int>(b);
      }
      read += sum > 0;
    } catch (const Error&) {
    }
  }
  CHECK(read > 500);
  CHECK(read < 4500);
}

}  // namespace
}  // namespace triforce
