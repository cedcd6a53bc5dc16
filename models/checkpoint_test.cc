#include "models/checkpoint.h"

#include <doctest/doctest.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "models/json_file.h"
#include "models/scratch_directory.h"

namespace triforce {
namespace {

using Json = nlohmann::json;

constexpr const char* kIndex = "model.safetensors.index.json";

// A shard with f32 tensors of one number, in `directory`.
void WriteShard(const ScratchDirectory& directory, const std::string& name, const std::vector<std::string>& tensors) {
  Json header = Json::object();
  int64_t end = 0;
  for (const std::string& tensor : tensors) {
    header[tensor] = {{"dtype", "F32"}, {"shape", {1}}, {"data_offsets", {end, end + 4}}};
    end += 4;
  }
  const std::string text = header.dump();
  std::string bytes(8, '\0');
  for (int i = 0; i < 8; ++i) bytes[i] = static_cast<char>(text.size() >> (8 * i));
  directory.Write(name, bytes + text + std::string(end, '\0'));
}

std::string OpenError(const ScratchDirectory& directory) {
  return ErrorOf([&] { Checkpoint checkpoint(directory.path()); });
}

TEST_CASE("the same tensors in one file and in shards") {
  const Checkpoint plain("tests/data/tiny/plain"), sharded("tests/data/tiny/sharded");
  CHECK(plain.files().size() == 1);
  CHECK(sharded.files().size() == 3);
  CHECK(sharded.parameters() == plain.parameters());
  CHECK(sharded.bytes() == 365440);  // metadata.total_size
  CHECK(plain.bytes() == 365440);
  for (const TensorRecord& tensor : plain.files()[0]->tensors()) {
    CAPTURE(tensor.name);
    CHECK(sharded.Require(tensor.name, tensor.shape).shape == tensor.shape);
  }
  CHECK(sharded.Find("model.norm.weight")->elements() == 64);
  CHECK(sharded.Find("model.norm.bias") == nullptr);
}

TEST_CASE("what is required and not there as required") {
  const Checkpoint checkpoint("tests/data/tiny/plain");
  CHECK(HasAll(ErrorOf([&] { checkpoint.Require("model.norm.bias", {64}); }),
               {"kInvalidInput ", "tests/data/tiny/plain", "\"model.norm.bias\"", "found nothing, expected [64]"}));
  CHECK(HasAll(ErrorOf([&] {
                 checkpoint.Require("lm_head.weight", {64, 320});
               }),
               {"kInvalidInput ", "tests/data/tiny/plain/model.safetensors", "\"lm_head.weight\"",
                "found shape [320, 64], expected [64, 320]"}));
  const ScratchDirectory directory;
  directory.Write("model.safetensors", std::string("\x38\0\0\0\0\0\0\0", 8) +
                                           R"({"ids":{"dtype":"I64","shape":[1],"data_offsets":[0,8]}}12345678)");
  const Checkpoint ids(directory.path());
  CHECK(HasAll(ErrorOf([&] { ids.Require("ids", {1}); }),
               {"kUnsupported ", "model.safetensors", "\"ids\"", "found type I64, expected F32, F16 or BF16"}));
}

TEST_CASE("a directory without weights says what it has") {
  const ScratchDirectory directory;
  CHECK(HasAll(OpenError(directory), {"kIo ", directory.path(), "neither model.safetensors nor"}));
  directory.Write("pytorch_model.bin", "x");
  CHECK(HasAll(OpenError(directory), {"kUnsupported ", directory.path(), "pytorch_model.bin", "save_pretrained"}));
  const auto of = [](const std::vector<std::string>& names) {
    const ScratchDirectory other;
    for (const std::string& name : names) other.Write(name, "x");
    return OpenError(other);
  };
  CHECK(HasAll(of({"pytorch_model-00001-of-00002.bin", "training_args.bin"}),
               {"kUnsupported ", "holds pytorch_model-00001-of-00002.bin, expected model.safetensors"}));
  CHECK(HasAll(of({"consolidated.00.pth"}), {"holds consolidated.00.pth, expected", "save_pretrained"}));
  CHECK(HasAll(of({"weights.bin"}), {"holds weights.bin, expected model.safetensors"}));
  CHECK(HasAll(of({"model-00001-of-00002.safetensors"}),
               {"kIo ", "holds model-00001-of-00002.safetensors and neither", "Download the index"}));
  CHECK(HasAll(of({"adapter_model.safetensors"}), {"kUnsupported ", "an adapter to another model", "peft"}));
  CHECK(HasAll(of({"x.Q4_K_M.gguf"}), {"kUnsupported ", "holds x.Q4_K_M.gguf", "GGUF files cannot be read yet"}));
  CHECK(HasAll(ErrorOf([] { Checkpoint checkpoint(std::string(5000, 'a')); }), {"kIo "}));
}

TEST_CASE("an index that lies") {
  const ScratchDirectory directory;
  WriteShard(directory, "1.safetensors", {"a", "b"});
  WriteShard(directory, "2.safetensors", {"c"});
  const auto error = [&](const Json& index) {
    directory.Write(kIndex, index.dump());
    return OpenError(directory);
  };
  const auto maps = [&](const Json& map) { return error({{"weight_map", map}}); };
  CHECK(maps({{"a", "1.safetensors"}, {"b", "1.safetensors"}, {"c", "2.safetensors"}}) == "no error");
  CHECK(HasAll(error({{"metadata", 1}}), {kIndex, "weight_map: found nothing, expected an object"}));
  CHECK(HasAll(error(Json::array()), {kIndex, "found [], expected a JSON object"}));
  CHECK(HasAll(maps(Json::object()), {kIndex, "weight_map: found {}, expected one tensor at least"}));
  CHECK(HasAll(maps({{"a", 1}}), {kIndex, "weight_map: a: found 1, expected the name of a file"}));
  CHECK(HasAll(maps({{"a", "3.safetensors"}}), {"kIo ", "/3.safetensors: ", "No such file"}));
  WriteShard(directory, "2.safetensors", {"a", "c"});
  CHECK(HasAll(maps({{"a", "1.safetensors"}, {"c", "2.safetensors"}}),
               {"/2.safetensors: ", "tensor \"a\" is in ", "/1.safetensors too"}));
}

TEST_CASE("an index may name a tensor that no shard holds, as long as nobody needs it") {
  const ScratchDirectory directory;
  WriteShard(directory, "1.safetensors", {"a", "b"});
  WriteShard(directory, "2.safetensors", {"c"});
  const auto open = [&](const Json& map) {
    directory.Write(kIndex, Json{{"weight_map", map}}.dump());
    return Checkpoint(directory.path());
  };
  const Checkpoint unneeded = open({{"a", "1.safetensors"}, {"rotary.inv_freq", "1.safetensors"}});
  CHECK(unneeded.Require("a", {1}).elements() == 1);
  CHECK(unneeded.Find("rotary.inv_freq") == nullptr);
  CHECK(HasAll(ErrorOf([&] { unneeded.Require("rotary.inv_freq", {1}); }),
               {"kInvalidInput ", "/1.safetensors: holds no tensor \"rotary.inv_freq\"", kIndex}));
  // In another shard than the index says, it is found all the same.
  const Checkpoint misplaced = open({{"a", "2.safetensors"}, {"b", "1.safetensors"}, {"c", "1.safetensors"}});
  CHECK(misplaced.Require("a", {1}).elements() == 1);
  CHECK(misplaced.Require("c", {1}).elements() == 1);
}

TEST_CASE("a quantised weight is told as one") {
  const ScratchDirectory directory;
  WriteShard(directory, "model.safetensors", {"q_proj.qweight", "q_proj.scales"});
  const Checkpoint gptq(directory.path());
  CHECK(
      HasAll(ErrorOf([&] {
               gptq.Require("q_proj.weight", {4, 4});
             }),
             {"kUnsupported ", directory.path(), "\"q_proj.qweight\", which is quantised", "before it was quantised"}));
  CHECK(HasAll(ErrorOf([&] { gptq.Require("k_proj.weight", {4, 4}); }), {"\"k_proj.weight\": found nothing"}));
  // Of bitsandbytes and fp8 the type is told, and not the shape, which is another one, too.
  for (const std::string type : {"U8", "I8", "F8_E4M3", "F8_E5M2"}) {
    const std::string header = R"({"w":{"dtype":")" + type + R"(","shape":[8,1],"data_offsets":[0,8]}})";
    directory.Write("model.safetensors",
                    std::string(1, static_cast<char>(header.size())) + std::string(7, '\0') + header + "12345678");
    const Checkpoint checkpoint(directory.path());
    CHECK(HasAll(ErrorOf([&] {
                   checkpoint.Require("w", {4, 4});
                 }),
                 {"kUnsupported ", "found type " + type + ", expected F32, F16 or BF16", "before it was quantised"}));
  }
}

TEST_CASE("pointers and pages in place of weights are told as what they are") {
  const ScratchDirectory directory;
  const auto error = [&](std::string_view content) {
    directory.Write("model.safetensors", content);
    return OpenError(directory);
  };
  CHECK(HasAll(error("version https://git-lfs.github.com/spec/v1\noid sha256:9b\nsize 499723\n"),
               {"kInvalidInput ", "/model.safetensors: is a Git LFS pointer", "git lfs pull"}));
  CHECK(HasAll(error("<!DOCTYPE html>"), {"/model.safetensors: is a web page (HTML)"}));
  CHECK(HasAll(error("Entry not found"), {"/model.safetensors: holds a server's message"}));
  CHECK(HasAll(error("x"), {"/model.safetensors: has 1 bytes"}));
  std::filesystem::remove(directory.path() + "/model.safetensors");
  directory.Write(kIndex, "version https://git-lfs.github.com/spec/v1\n");
  CHECK(HasAll(OpenError(directory), {kIndex, "is a Git LFS pointer"}));
}

TEST_CASE("a shard's name that leaves the directory") {
  const ScratchDirectory directory;
  WriteShard(directory, "inside.safetensors", {"a"});
  for (const std::string name :
       {"../x.safetensors", "/etc/passwd", "..", ".", "", "a/b.safetensors", "..\\x", "./inside.safetensors"}) {
    CAPTURE(name);
    directory.Write(kIndex, Json{{"weight_map", {{"a", name}}}}.dump());
    CHECK(HasAll(OpenError(directory), {"kInvalidInput ", kIndex, "weight_map: a: found " + Json(name).dump(),
                                        "expected the name of a file in the same directory"}));
  }
  directory.Write(kIndex, R"({"weight_map": {"a": "inside.safetensors\u0000/../x"}})");
  CHECK(HasAll(OpenError(directory), {"kInvalidInput ", kIndex, "the name of a file in the same directory"}));
}

}  // namespace
}  // namespace triforce
