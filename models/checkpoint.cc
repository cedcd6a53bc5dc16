#include "models/checkpoint.h"

#include <fmt/core.h>

#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>

#include "kernels/core/error.h"
#include "models/json_file.h"

namespace triforce {
namespace fs = std::filesystem;
namespace {

// Without fs::exists' own exception, which names no remedy; what cannot be looked at is reported when it is opened.
bool Exists(const fs::path& path) {
  std::error_code status;
  return fs::exists(path, status);
}

}  // namespace

Checkpoint::Checkpoint(const std::string& directory) : directory_(directory) {
  const fs::path base(directory);
  const std::string index = (base / "model.safetensors.index.json").string();
  const std::string single = (base / "model.safetensors").string();
  if (Exists(single)) {
    Add(std::make_unique<SafetensorsFile>(single));
  } else if (Exists(index)) {
    OpenShards(index, directory);
  } else if (Exists(base / "pytorch_model.bin") || Exists(base / "pytorch_model.bin.index.json")) {
    throw Error(ErrorKind::kUnsupported, directory, "holds pytorch_model.bin, expected model.safetensors",
                "Save it anew with transformers: AutoModelForCausalLM.from_pretrained(DIR).save_pretrained(DIR2).");
  } else {
    throw Error(ErrorKind::kIo, directory, "holds neither model.safetensors nor model.safetensors.index.json");
  }
}

void Checkpoint::OpenShards(const std::string& index_path, const std::string& directory) {
  const JsonObject index = JsonObject::FromFile(index_path);
  const JsonObject weight_map = index.Object("weight_map");
  std::map<std::string, std::vector<std::string>> shards;  // tensors by shard
  for (const auto& [tensor, shard] : weight_map.json().items()) {
    if (!shard.is_string()) weight_map.Fail(tensor, "the name of a file");
    const std::string name = shard.get<std::string>();
    if (name.empty() || name == "." || name == ".." ||
        name.find_first_of(std::string_view("/\\\0", 3)) != std::string::npos) {
      weight_map.Fail(tensor, "the name of a file in the same directory");
    }
    shards[name].push_back(tensor);
  }
  if (shards.empty()) index.Fail("weight_map", "one tensor at least");
  for (const auto& [name, tensors] : shards) {
    Add(std::make_unique<SafetensorsFile>((fs::path(directory) / name).string()));
    for (const std::string& tensor : tensors) {
      if (files_.back()->Find(tensor) == nullptr) {
        throw Error(ErrorKind::kInvalidInput, files_.back()->path(),
                    fmt::format("holds no tensor \"{}\", which {} says it does", tensor, index_path));
      }
    }
  }
}

void Checkpoint::Add(std::unique_ptr<SafetensorsFile> file) {
  for (const TensorRecord& record : file->tensors()) {
    const auto [it, added] = tensors_.emplace(record.name, Place{file.get(), &record});
    if (!added) {
      throw Error(ErrorKind::kInvalidInput, file->path(),
                  fmt::format("tensor \"{}\" is in {} too", record.name, it->second.file->path()));
    }
  }
  files_.push_back(std::move(file));
}

const TensorRecord* Checkpoint::Find(std::string_view name) const {
  const auto it = tensors_.find(name);
  return it == tensors_.end() ? nullptr : it->second.record;
}

const TensorRecord& Checkpoint::Require(const std::string& name, const std::vector<int64_t>& shape) const {
  const auto it = tensors_.find(name);
  if (it == tensors_.end()) {
    throw Error(ErrorKind::kInvalidInput, directory_,
                fmt::format("tensor \"{}\": found nothing, expected {}", name, ShapeString(shape)));
  }
  const TensorRecord& record = *it->second.record;
  const std::string where = fmt::format("{}: tensor \"{}\"", it->second.file->path(), name);
  if (record.shape != shape) {
    throw Error(
        ErrorKind::kInvalidInput, where,
        fmt::format("found shape {}, expected {} by config.json", ShapeString(record.shape), ShapeString(shape)));
  }
  if (!record.dtype || *record.dtype == DType::kI32) {
    throw Error(ErrorKind::kUnsupported, where,
                fmt::format("found type {}, expected F32, F16 or BF16", record.dtype_name));
  }
  return record;
}

int64_t Checkpoint::bytes() const {
  int64_t sum = 0;
  for (const auto& [name, place] : tensors_) sum += static_cast<int64_t>(place.record->data.size());
  return sum;
}

int64_t Checkpoint::parameters() const {
  int64_t sum = 0;
  for (const auto& [name, place] : tensors_) sum += place.record->elements();
  return sum;
}

}  // namespace triforce
