#include "tests/cli/test_files.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>

#include "kernels/core/check.h"
#include "models/safetensors.h"

namespace triforce {
namespace fs = std::filesystem;
namespace {

template <typename T>
std::vector<T> Values(const SafetensorsFile& file, const std::string& name) {
  const TensorRecord* const record = file.Find(name);
  TF_CHECK(record != nullptr && record->data.size() == record->elements() * sizeof(T), "{}", name);
  std::vector<T> values(static_cast<size_t>(record->elements()));
  std::memcpy(values.data(), record->data.data(), record->data.size());
  return values;
}

}  // namespace

TemporaryFolder::TemporaryFolder() {
  const char* const parent = std::getenv("TEST_TMPDIR");
  std::string pattern = (parent != nullptr ? fs::path(parent) : fs::temp_directory_path()) / "cli.XXXXXX";
  TF_CHECK(::mkdtemp(pattern.data()) != nullptr, "{}", pattern);
  path_ = pattern;
}

TemporaryFolder::~TemporaryFolder() {
  std::error_code ignored;
  fs::remove_all(path_, ignored);
}

std::string TemporaryFolder::Write(const std::string& name, const std::string& content) const {
  std::ofstream(Path(name), std::ios::binary) << content;
  return Path(name);
}

std::string TemporaryFolder::CopyModel(const std::string& directory) const {
  const fs::path copy = path_ / "model";
  fs::create_directory(copy);
  for (const auto& entry : fs::directory_iterator(directory)) {
    // Content, not links: Bazel's are read-only.
    std::ofstream(copy / entry.path().filename(), std::ios::binary) << ReadText(entry.path().string());
  }
  return copy.string();
}

std::vector<std::string> TemporaryFolder::List() const {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(path_)) names.push_back(entry.path().filename().string());
  std::sort(names.begin(), names.end());
  return names;
}

std::string ReadText(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  TF_CHECK(file.good(), "{}", path);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

nlohmann::json ReadJson(const std::string& path) { return nlohmann::json::parse(ReadText(path)); }

TinyGolden ReadTinyGolden(const std::string& directory) {
  const SafetensorsFile file((fs::path(directory) / "golden.safetensors").string());
  return {Values<int64_t>(file, "input_ids"), Values<int64_t>(file, "greedy"), Values<float>(file, "logits")};
}

std::vector<float> ReadFloats(const std::string& path, const std::string& name, const std::vector<int64_t>& shape) {
  const SafetensorsFile file(path);
  const TensorRecord* const record = file.Find(name);
  TF_CHECK(record != nullptr && record->dtype == DType::kF32 && record->shape == shape, "{}", path);
  return Values<float>(file, name);
}

}  // namespace triforce
