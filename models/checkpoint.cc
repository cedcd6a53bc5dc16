#include "models/checkpoint.h"

#include <fmt/core.h>

#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>

#include "kernels/core/error.h"
#include "models/json_file.h"
#include "models/model_directory.h"
#include "models/regular_file.h"

namespace triforce {
namespace fs = std::filesystem;
namespace {

constexpr const char* kUnquantised = "Give the model as it was before it was quantised, in F16, BF16 or F32.";

bool IsQuantised(std::string_view dtype_name) {
  return dtype_name.starts_with("F8") || dtype_name == "I8" || dtype_name == "U8" || dtype_name == "I32" ||
         dtype_name == "F4";
}

}  // namespace

Checkpoint::Checkpoint(const std::string& directory) : directory_(directory) {
  const fs::path base(directory);
  const std::string index = (base / "model.safetensors.index.json").string();
  const std::string single = (base / "model.safetensors").string();
  if (FileExists(single)) {
    Add(std::make_unique<SafetensorsFile>(single));
  } else if (FileExists(index)) {
    OpenShards(index, directory);
  } else {
    FailWithoutWeights(directory);
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
      const auto it = tensors_.find(tensor);
      if (it == tensors_.end() || it->second.file != files_.back().get()) missing_[tensor] = files_.back()->path();
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
  if (it == tensors_.end()) FailAbsent(name, shape);
  const TensorRecord& record = *it->second.record;
  const std::string where = fmt::format("{}: tensor \"{}\"", it->second.file->path(), name);
  // The type first: quantised weights have other shapes, too.
  if (!record.dtype || *record.dtype == DType::kI32) {
    throw Error(ErrorKind::kUnsupported, where,
                fmt::format("found type {}, expected F32, F16 or BF16", record.dtype_name),
                IsQuantised(record.dtype_name) ? kUnquantised : "");
  }
  if (record.shape != shape) {
    throw Error(
        ErrorKind::kInvalidInput, where,
        fmt::format("found shape {}, expected {} by config.json", ShapeString(record.shape), ShapeString(shape)));
  }
  return record;
}

void Checkpoint::FailAbsent(const std::string& name, const std::vector<int64_t>& shape) const {
  if (const auto promised = missing_.find(name); promised != missing_.end()) {
    throw Error(ErrorKind::kInvalidInput, promised->second,
                fmt::format("holds no tensor \"{}\", which model.safetensors.index.json says it does", name));
  }
  // How GPTQ and AWQ name what they put in a weight's place.
  const size_t end = name.rfind(".weight");
  if (end != std::string::npos && Find(name.substr(0, end) + ".qweight") != nullptr) {
    throw Error(ErrorKind::kUnsupported, directory_,
                fmt::format("found \"{0}.qweight\", which is quantised, expected \"{0}.weight\"", name.substr(0, end)),
                kUnquantised);
  }
  throw Error(ErrorKind::kInvalidInput, directory_,
              fmt::format("tensor \"{}\": found nothing, expected {}", name, ShapeString(shape)));
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
