// TensorView: where a tensor lies and how it is laid out.
//
// Never owns: a Buffer or an Arena does, and must outlive every use of the view, queued work included. Copied freely.
// An op says in its contract which of its views it reads and which it writes.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string>

#include "kernels/core/check.h"
#include "kernels/core/dtype.h"

namespace triforce {

class Device;

class TensorView {
 public:
  static constexpr int kMaxRank = 4;

  // No tensor: the value of an optional argument that is left out.
  TensorView() = default;

  // A dense tensor, outermost dimension first. REQUIRES: 1 to 4 dimensions, none negative.
  TensorView(Device* device, void* data, DType dtype, std::initializer_list<int64_t> shape);

  explicit operator bool() const { return data_ != nullptr; }

  Device* device() const { return device_; }
  DType dtype() const { return dtype_; }
  int rank() const { return rank_; }
  int64_t dim(int i) const { return shape_[i]; }
  int64_t stride(int i) const { return strides_[i]; }  // in elements
  int64_t elements() const;
  // Bytes of the elements themselves, gaps of a strided view not counted.
  int64_t bytes() const { return elements() * SizeOf(dtype_); }
  bool dense() const;
  // True where all but the outermost dimension lie densely.
  bool dense_rows() const;

  void* data() const { return data_; }
  // REQUIRES: T is dtype()'s type.
  template <typename T>
  T* as() const {
    TF_CHECK(kDTypeOf<T> == dtype_, "{} is not {}", Name(kDTypeOf<T>), Name(dtype_));
    return reinterpret_cast<T*>(data_);
  }

  // Elements [begin, end) of dimension `axis`.
  TensorView Slice(int axis, int64_t begin, int64_t end) const;
  // Another shape over the same elements. REQUIRES: dense(), equal number of elements. To split the inner dimension of
  // a matrix with strided rows, see SplitRows.
  TensorView Reshape(std::initializer_list<int64_t> shape) const;
  // [rows, outer * inner] -> [rows, outer, inner], whatever the rows' stride. REQUIRES: rank 2, dense_rows().
  TensorView SplitRows(int64_t outer, int64_t inner) const;

  // "f16 [32, 128]", for messages.
  std::string ToString() const;

 private:
  std::byte* data_ = nullptr;
  Device* device_ = nullptr;
  DType dtype_ = DType::kF32;
  int rank_ = 0;
  std::array<int64_t, kMaxRank> shape_{};
  std::array<int64_t, kMaxRank> strides_{};
};

}  // namespace triforce
