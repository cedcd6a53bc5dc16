// Checkpoint: all tensors of a Hugging Face model directory, in one safetensors file or in shards with an index.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "models/safetensors.h"

namespace triforce {

class Checkpoint {
 public:
  // Opens DIRECTORY/model.safetensors, or the shards that DIRECTORY/model.safetensors.index.json names. Reads headers
  // only. Throws Error (kIo, kInvalidInput, kUnsupported).
  explicit Checkpoint(const std::string& directory);

  // Null where there is none of that name.
  const TensorRecord* Find(std::string_view name) const;
  // Throws Error (kInvalidInput) that names the file, the tensor, what was found and what was expected, where there is
  // no such tensor or it has another shape or a type that weights cannot have (f32, f16 and bf16 can).
  const TensorRecord& Require(const std::string& name, const std::vector<int64_t>& shape) const;

  const std::vector<std::unique_ptr<SafetensorsFile>>& files() const { return files_; }
  int64_t bytes() const;       // of all tensors
  int64_t parameters() const;  // elements of all tensors

 private:
  struct Place {
    const SafetensorsFile* file;
    const TensorRecord* record;
  };

  void OpenShards(const std::string& index_path, const std::string& directory);
  void Add(std::unique_ptr<SafetensorsFile> file);
  [[noreturn]] void FailAbsent(const std::string& name, const std::vector<int64_t>& shape) const;

  std::string directory_;
  std::vector<std::unique_ptr<SafetensorsFile>> files_;
  std::unordered_map<std::string_view, Place> tensors_;
  // Tensors that the index places in a shard which has them not, and that shard. No error where nobody asks for them.
  std::unordered_map<std::string, std::string> missing_;
};

}  // namespace triforce
