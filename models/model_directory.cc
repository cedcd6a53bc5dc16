#include "models/model_directory.h"

#include <fmt/core.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string_view>
#include <vector>

#include "kernels/core/error.h"
#include "models/foreign_file.h"
#include "models/regular_file.h"

namespace triforce {
namespace fs = std::filesystem;
namespace {

constexpr const char* kGive = "Give a Hugging Face model directory, one that holds config.json and model.safetensors.";
constexpr const char* kSaveAnew =
    "Save it anew with transformers: AutoModelForCausalLM.from_pretrained(DIR).save_pretrained(DIR2).";

bool IsDirectory(const fs::path& path) {
  std::error_code status;
  return fs::is_directory(path, status);
}

// Names in `directory`, in order.
std::vector<std::string> NamesIn(const fs::path& directory) {
  std::vector<std::string> names;
  std::error_code status;
  for (auto entry = fs::directory_iterator(directory, status); !status && entry != fs::directory_iterator();
       entry.increment(status)) {
    names.push_back(entry->path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

// The first of `names` that ends with one of `endings`.
std::optional<std::string> FirstThatEnds(const std::vector<std::string>& names,
                                         const std::vector<std::string_view>& endings) {
  const auto ends = [&](const std::string& name) {
    return std::any_of(endings.begin(), endings.end(), [&](std::string_view ending) { return name.ends_with(ending); });
  };
  const auto it = std::find_if(names.begin(), names.end(), ends);
  return it == names.end() ? std::nullopt : std::optional(*it);
}

// The first of `snapshots`' folders; before it the one that refs/main names, the branch that most people mean.
std::optional<std::string> SnapshotIn(const fs::path& snapshots) {
  std::string name;
  try {
    name = ReadRegularFile((snapshots.parent_path() / "refs" / "main").string(), /*max_bytes=*/256);
  } catch (const Error&) {  // any snapshot will do
  }
  name = name.substr(0, name.find_first_of("\r\n"));
  const std::vector<std::string> names = NamesIn(snapshots);
  if (std::find(names.begin(), names.end(), name) != names.end()) return (snapshots / name).string();
  for (const std::string& other : names) {
    if (FileExists((snapshots / other / "config.json").string())) return (snapshots / other).string();
  }
  return std::nullopt;
}

void RefuseFile(const std::string& path) {
  std::error_code status;
  if (!fs::is_regular_file(path, status)) return;
  char begin[4] = {};
  std::ifstream(path, std::ios::binary).read(begin, sizeof(begin));
  if (IsGguf({begin, sizeof(begin)}) || path.ends_with(".gguf")) {
    throw Error(ErrorKind::kUnsupported, path, "is a GGUF file, which cannot be read yet", kGive);
  }
  throw Error(ErrorKind::kIo, path, "is a file, expected a directory", kGive);
}

// `top`, which `directory` is or holds: models--ORG--NAME, or its folder snapshots.
void RefuseCache(const std::string& directory, const fs::path& top) {
  const fs::path snapshots = top.filename() == "snapshots" ? top : top / "snapshots";
  if (!IsDirectory(snapshots)) return;
  const std::optional<std::string> snapshot = SnapshotIn(snapshots);
  throw Error(ErrorKind::kInvalidInput, directory, "is a folder of a Hugging Face cache, not of a model",
              snapshot ? "Give the model's snapshot: " + *snapshot : "It holds no snapshot: download the model again.");
}

}  // namespace

void CheckModelDirectory(const std::string& directory) {
  if (!IsDirectory(directory)) {
    RefuseFile(directory);
    throw Error(ErrorKind::kIo, directory, "is no directory",
                fmt::format("{} hf download NAME --local-dir DIR makes one of a published model.", kGive));
  }
  if (FileExists((fs::path(directory) / "config.json").string())) return;
  RefuseCache(directory, directory.ends_with('/') ? fs::path(directory).parent_path() : fs::path(directory));
  const std::vector<std::string> names = NamesIn(directory);
  if (const auto name = FirstThatEnds(names, {".gguf"})) {
    throw Error(ErrorKind::kUnsupported, directory,
                fmt::format("holds {} and no config.json; GGUF files cannot be read yet", *name), kGive);
  }
  if (const auto name = FirstThatEnds(names, {".pth"})) {
    throw Error(ErrorKind::kUnsupported, directory,
                fmt::format("holds {} and no config.json: a model in Meta's own format", *name), kGive);
  }
  const auto cached =
      std::find_if(names.begin(), names.end(), [](const std::string& name) { return name.starts_with("models--"); });
  if (cached != names.end()) RefuseCache(directory, fs::path(directory) / *cached);
}

void FailWithoutWeights(const std::string& directory) {
  const std::vector<std::string> names = NamesIn(directory);
  const auto refuse = [&](const std::string& what, const char* remedy) {
    throw Error(ErrorKind::kUnsupported, directory, what, remedy);
  };
  const auto torch = std::find_if(names.begin(), names.end(), [](const std::string& name) {
    return name.starts_with("pytorch_model") || name.ends_with(".pth");
  });
  if (torch != names.end()) refuse(fmt::format("holds {}, expected model.safetensors", *torch), kSaveAnew);
  if (const auto name = FirstThatEnds(names, {".safetensors"})) {
    if (name->starts_with("adapter_")) {
      refuse(fmt::format("holds {}, an adapter to another model, and no model.safetensors", *name),
             "Merge it into that model with peft: merge_and_unload(), then save_pretrained.");
    }
    throw Error(ErrorKind::kIo, directory,
                fmt::format("holds {} and neither model.safetensors nor model.safetensors.index.json", *name),
                "Download the index, too, where the model has several files.");
  }
  if (const auto name = FirstThatEnds(names, {".gguf"})) {
    refuse(fmt::format("holds {}, expected model.safetensors; GGUF files cannot be read yet", *name), "");
  }
  if (const auto name = FirstThatEnds(names, {".bin", ".pt", ".ckpt"})) {
    refuse(fmt::format("holds {}, expected model.safetensors", *name), kSaveAnew);
  }
  throw Error(ErrorKind::kIo, directory, "holds neither model.safetensors nor model.safetensors.index.json");
}

}  // namespace triforce
