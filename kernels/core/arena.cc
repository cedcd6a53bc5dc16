#include "kernels/core/arena.h"

#include "kernels/core/device.h"

namespace triforce {

Arena::Arena(Device& device, int64_t bytes, const std::string& purpose)
    : buffer_(device.Allocate(bytes, purpose)), measuring_(false) {}

TensorView Arena::Cut(DType dtype, std::initializer_list<int64_t> shape) {
  std::byte* data = measuring_ ? nullptr : buffer_.data() + used_bytes_;
  TensorView view(buffer_.device(), data, dtype, shape);
  used_bytes_ += (view.bytes() + kAlignmentBytes - 1) / kAlignmentBytes * kAlignmentBytes;
  TF_CHECK(measuring_ || used_bytes_ <= buffer_.bytes(), "arena of {} bytes is too small for {}", buffer_.bytes(),
           view.ToString());
  return view;
}

}  // namespace triforce
