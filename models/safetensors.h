// Safetensors files: 8 bytes of header length, a JSON header, the tensors' bytes.
//
// Format: https://huggingface.co/docs/safetensors, "Format". All of the header is checked before anything is used:
// lengths, types, shapes, and that the tensors fill the rest of the file without overlaps or holes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/core/dtype.h"
#include "models/mapped_file.h"
#include "models/output_file.h"

namespace triforce {

// One tensor of a file. Its data lie in the file's mapping, possibly unaligned to its type.
struct TensorRecord {
  std::string name;
  std::string dtype_name;      // "F16", as in the file
  std::optional<DType> dtype;  // where this program has such a type
  std::vector<int64_t> shape;  // outermost dimension first; empty: a scalar
  std::span<const std::byte> data;

  int64_t elements() const;
};

// "[320, 64]".
std::string ShapeString(std::span<const int64_t> shape);

class SafetensorsFile {
 public:
  // Throws Error (kIo, kInvalidInput), with field or offset, what was found and what was expected.
  explicit SafetensorsFile(const std::string& path);

  const std::string& path() const { return file_.path(); }
  // In order of their data.
  std::span<const TensorRecord> tensors() const { return tensors_; }
  // Null where there is none of that name.
  const TensorRecord* Find(std::string_view name) const;

 private:
  MappedFile file_;
  std::vector<TensorRecord> tensors_;
};

// Writes one f32 tensor, piece by piece, into a file that appears whole or not at all (output_file.h).
class SafetensorsWriter {
 public:
  // Throws Error (kIo) as all methods do.
  SafetensorsWriter(const std::string& path, const std::string& tensor, const std::vector<int64_t>& shape);

  // The next values, row by row. REQUIRES: no more than the shape has, in all.
  void Append(std::span<const float> values);
  // REQUIRES: as many values as the shape has.
  void Finish();

 private:
  OutputFile file_;
  int64_t missing_values_ = 0;
};

}  // namespace triforce
