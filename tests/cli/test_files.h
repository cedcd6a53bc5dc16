// Files that the tests of the command line make and read.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace triforce {

inline constexpr char kDemoModel[] = "models/demo/target";
inline constexpr char kBook[] = "models/demo/books/The_Time_Machine.txt";
inline constexpr char kTinyModel[] = "tests/data/tiny/plain";  // 320 tokens, 512 positions, no tokenizer

// A folder of its own, gone with its contents at the end.
class TemporaryFolder {
 public:
  TemporaryFolder();
  ~TemporaryFolder();
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  std::string Path(const std::string& name) const { return (path_ / name).string(); }
  // Writes a file; returns its path.
  std::string Write(const std::string& name, const std::string& content) const;
  // Copies a model directory, so that it can be changed; returns its path.
  std::string CopyModel(const std::string& directory) const;
  // Names of what is in it, in order.
  std::vector<std::string> List() const;

 private:
  std::filesystem::path path_;
};

std::string ReadText(const std::string& path);
nlohmann::json ReadJson(const std::string& path);

// What transformers computes for a tiny model: golden.safetensors.
struct TinyGolden {
  std::vector<int64_t> input_ids;
  std::vector<int64_t> greedy;
  std::vector<float> logits;  // [input_ids, vocab]
};

TinyGolden ReadTinyGolden(const std::string& directory);

// The f32 tensor `name` of a safetensors file. `shape` is checked.
std::vector<float> ReadFloats(const std::string& path, const std::string& name, const std::vector<int64_t>& shape);

}  // namespace triforce
