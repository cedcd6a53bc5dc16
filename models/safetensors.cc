#include "models/safetensors.h"

#include <fmt/core.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <nlohmann/json.hpp>
#include <numeric>

#include "kernels/core/check.h"
#include "kernels/core/error.h"
#include "models/foreign_file.h"
#include "models/json_file.h"

namespace triforce {
namespace {

constexpr uint64_t kMaxHeaderBytes = 100'000'000;  // the reference implementation's limit
constexpr uint64_t kLengthBytes = 8;
constexpr size_t kForeignBytes = 512;

struct TypeInfo {
  const char* name;
  int64_t bits;
  std::optional<DType> dtype;
};

constexpr TypeInfo kTypes[] = {
    {"F32", 32, DType::kF32},
    {"F16", 16, DType::kF16},
    {"BF16", 16, DType::kBF16},
    {"I32", 32, DType::kI32},
    {"I64", 64, {}},
    {"U64", 64, {}},
    {"F64", 64, {}},
    {"C64", 64, {}},
    {"U32", 32, {}},
    {"I16", 16, {}},
    {"U16", 16, {}},
    {"I8", 8, {}},
    {"U8", 8, {}},
    {"BOOL", 8, {}},
    {"F8_E5M2", 8, {}},
    {"F8_E4M3", 8, {}},
    {"F8_E8M0", 8, {}},
    {"F8_E4M3FNUZ", 8, {}},
    {"F8_E5M2FNUZ", 8, {}},
    {"F6_E2M3", 6, {}},
    {"F6_E3M2", 6, {}},
    {"F4", 4, {}},
};

int64_t Elements(std::span<const int64_t> shape) {
  return std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies<>());
}

// The header of one file, while it is read.
class HeaderReader {
 public:
  HeaderReader(const std::string& path, std::span<const std::byte> data) : path_(path), data_(data) {}

  std::vector<TensorRecord> Read(const nlohmann::json& header) {
    for (const auto& [name, entry] : header.items()) {
      if (name != "__metadata__") ReadTensor(name, entry);
    }
    std::sort(placed_.begin(), placed_.end(),
              [](const Placed& a, const Placed& b) { return std::pair(a.begin, a.end) < std::pair(b.begin, b.end); });
    uint64_t end = 0;
    std::vector<TensorRecord> tensors;
    for (Placed& placed : placed_) {
      if (placed.begin != end) {
        Fail(placed.record.name, "data_offsets", fmt::format("begin {}", placed.begin),
             fmt::format("{}, where the tensor before ends ({})", end,
                         placed.begin < end ? "they overlap" : "there is a hole"));
      }
      end = placed.end;
      tensors.push_back(std::move(placed.record));
    }
    if (end != data_.size()) {
      throw Error(
          ErrorKind::kInvalidInput, path_,
          fmt::format("found {} bytes behind the header, expected {}, where the last tensor ends", data_.size(), end));
    }
    return tensors;
  }

 private:
  struct Placed {
    uint64_t begin;
    uint64_t end;
    TensorRecord record;
  };

  [[noreturn]] void Fail(const std::string& name, const std::string& field, const std::string& found,
                         const std::string& expected) const {
    throw Error(ErrorKind::kInvalidInput, fmt::format("{}: tensor {}: {}", path_, Shown(name), field),
                fmt::format("found {}, expected {}", found, expected));
  }

  const nlohmann::json& Field(const std::string& name, const nlohmann::json& entry, const char* field) const {
    if (!entry.is_object() || !entry.contains(field)) Fail(name, field, "nothing", "dtype, shape and data_offsets");
    return entry.at(field);
  }

  void ReadTensor(const std::string& name, const nlohmann::json& entry) {
    const nlohmann::json& dtype = Field(name, entry, "dtype");
    const auto type =
        std::find_if(std::begin(kTypes), std::end(kTypes), [&](const TypeInfo& t) { return dtype == t.name; });
    if (type == std::end(kTypes)) Fail(name, "dtype", Shown(dtype), "a type of the format, such as \"F16\"");
    TensorRecord record{.name = name, .dtype_name = type->name, .dtype = type->dtype};
    record.shape = ReadShape(name, Field(name, entry, "shape"), type->bits);
    const nlohmann::json& offsets = Field(name, entry, "data_offsets");
    if (!offsets.is_array() || offsets.size() != 2 || !offsets[0].is_number_unsigned() ||
        !offsets[1].is_number_unsigned()) {
      Fail(name, "data_offsets", Shown(offsets), "[begin, end]");
    }
    const uint64_t begin = offsets[0], end = offsets[1];
    if (begin > end || end > data_.size()) {
      Fail(name, "data_offsets", Shown(offsets),
           fmt::format("a range within the {} bytes behind the header; the file may be cut short", data_.size()));
    }
    const int64_t bits = record.elements() * type->bits;
    if (bits % 8 != 0 || end - begin != static_cast<uint64_t>(bits / 8)) {
      Fail(name, "data_offsets", fmt::format("{} bytes", end - begin),
           fmt::format("{} bytes for {} {}", bits / 8, record.dtype_name, ShapeString(record.shape)));
    }
    record.data = data_.subspan(begin, end - begin);
    placed_.push_back({begin, end, std::move(record)});
  }

  std::vector<int64_t> ReadShape(const std::string& name, const nlohmann::json& shape, int64_t bits) const {
    if (!shape.is_array()) Fail(name, "shape", Shown(shape), "an array");
    std::vector<int64_t> dims;
    for (const nlohmann::json& dim : shape) {
      // In 63 bits even where a zero follows: what is computed from a shape must not overflow half-way.
      if (!dim.is_number_unsigned() || dim.get<uint64_t>() > INT64_MAX ||
          __builtin_mul_overflow(bits, std::max<int64_t>(dim.get<int64_t>(), 1), &bits)) {
        Fail(name, "shape", Shown(shape), "dimensions from 0 on, whose product fits 63 bits");
      }
      dims.push_back(dim.get<int64_t>());
    }
    return dims;
  }

  const std::string& path_;
  const std::span<const std::byte> data_;
  std::vector<Placed> placed_;
};

}  // namespace

int64_t TensorRecord::elements() const { return Elements(shape); }

std::string ShapeString(std::span<const int64_t> shape) {
  std::string text = "[";
  for (int64_t dim : shape) text += fmt::format("{}{}", text.size() == 1 ? "" : ", ", dim);
  return text + "]";
}

SafetensorsFile::SafetensorsFile(const std::string& path) : file_(path) {
  const std::span<const std::byte> bytes = file_.bytes();
  RefuseForeignFile(path, {reinterpret_cast<const char*>(bytes.data()), std::min(bytes.size(), kForeignBytes)});
  if (bytes.size() < kLengthBytes) {
    throw Error(ErrorKind::kInvalidInput, path,
                fmt::format("has {} bytes, expected at least {}", bytes.size(), kLengthBytes));
  }
  uint64_t header_bytes = 0;
  std::memcpy(&header_bytes, bytes.data(), kLengthBytes);
  const uint64_t most = std::min<uint64_t>(kMaxHeaderBytes, bytes.size() - kLengthBytes);
  if (header_bytes < 2 || header_bytes > most) {
    throw Error(ErrorKind::kInvalidInput, path,
                fmt::format("the header's length, at offset 0, is {}, expected 2 to {}; the file has {} bytes",
                            header_bytes, most, bytes.size()),
                "The file may be cut short, or be no safetensors file.");
  }
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()) + kLengthBytes, header_bytes);
  const nlohmann::json header = ParseJson(text, path + ": header");
  if (!header.is_object()) throw Error(ErrorKind::kInvalidInput, path + ": header", "is no JSON object");
  tensors_ = HeaderReader(path, bytes.subspan(kLengthBytes + header_bytes)).Read(header);
}

const TensorRecord* SafetensorsFile::Find(std::string_view name) const {
  for (const TensorRecord& tensor : tensors_) {
    if (tensor.name == name) return &tensor;
  }
  return nullptr;
}

SafetensorsWriter::SafetensorsWriter(const std::string& path, const std::string& tensor,
                                     const std::vector<int64_t>& shape)
    : file_(path), missing_values_(Elements(shape)) {
  const nlohmann::json header = {
      {tensor, {{"dtype", "F32"}, {"shape", shape}, {"data_offsets", {0, missing_values_ * int64_t{sizeof(float)}}}}}};
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');  // so that the values are aligned
  const uint64_t length = text.size();
  file_.Write(&length, sizeof(length));
  file_.Write(text);
}

void SafetensorsWriter::Append(std::span<const float> values) {
  missing_values_ -= static_cast<int64_t>(values.size());
  TF_CHECK(missing_values_ >= 0);
  file_.Write(values.data(), values.size_bytes());
}

void SafetensorsWriter::Finish() {
  TF_CHECK(missing_values_ == 0, "{} values missing", missing_values_);
  file_.Commit();
}

}  // namespace triforce
