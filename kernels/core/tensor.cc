#include "kernels/core/tensor.h"

namespace triforce {

TensorView::TensorView(Device* device, void* data, DType dtype, std::initializer_list<int64_t> shape)
    : data_(static_cast<std::byte*>(data)), device_(device), dtype_(dtype), rank_(static_cast<int>(shape.size())) {
  TF_CHECK(rank_ >= 1 && rank_ <= kMaxRank, "rank {}", rank_);
  int i = 0;
  for (int64_t dim : shape) {
    TF_CHECK(dim >= 0, "dimension {} is {}", i, dim);
    shape_[i++] = dim;
  }
  int64_t stride = 1;
  for (i = rank_ - 1; i >= 0; --i) {
    strides_[i] = stride;
    stride *= shape_[i];
  }
}

int64_t TensorView::elements() const {
  if (rank_ == 0) return 0;
  int64_t n = 1;
  for (int i = 0; i < rank_; ++i) n *= shape_[i];
  return n;
}

bool TensorView::dense_rows() const {
  int64_t stride = 1;
  for (int i = rank_ - 1; i > 0; --i) {
    if (shape_[i] != 1 && strides_[i] != stride) return false;
    stride *= shape_[i];
  }
  return true;
}

bool TensorView::dense() const {
  if (rank_ == 0 || !dense_rows()) return false;
  const int64_t row = shape_[0] == 0 ? 0 : elements() / shape_[0];
  return shape_[0] <= 1 || strides_[0] == row;
}

TensorView TensorView::Slice(int axis, int64_t begin, int64_t end) const {
  TF_CHECK(axis >= 0 && axis < rank_, "axis {} of rank {}", axis, rank_);
  TF_CHECK(0 <= begin && begin <= end && end <= shape_[axis], "[{}, {}) of {}", begin, end, ToString());
  TensorView slice = *this;
  slice.data_ += begin * strides_[axis] * SizeOf(dtype_);
  slice.shape_[axis] = end - begin;
  return slice;
}

TensorView TensorView::Reshape(std::initializer_list<int64_t> shape) const {
  TensorView view(device_, data_, dtype_, shape);
  TF_CHECK(dense() && view.elements() == elements(), "{} to {}", ToString(), view.ToString());
  return view;
}

TensorView TensorView::SplitRows(int64_t outer, int64_t inner) const {
  TF_CHECK(rank_ == 2 && dense_rows() && outer * inner == shape_[1], "{} into {} x {}", ToString(), outer, inner);
  TensorView view(device_, data_, dtype_, {shape_[0], outer, inner});
  view.strides_[0] = strides_[0];
  return view;
}

std::string TensorView::ToString() const {
  std::string text = fmt::format("{} [", Name(dtype_));
  for (int i = 0; i < rank_; ++i) text += fmt::format("{}{}", i == 0 ? "" : ", ", shape_[i]);
  return text + "]";
}

}  // namespace triforce
