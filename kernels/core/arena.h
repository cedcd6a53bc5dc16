// Arena: one Buffer, cut into tensors from front to back. Made once, before the first pass; nothing is given back
// singly.
//
// The same code that cuts also measures: run it on a measuring Arena first, then on one of that size, and what was
// counted is what is used.
//
//   auto cut = [&](Arena& arena) { w.norm = arena.Cut(DType::kF32, {hidden}); ... };
//   Arena sizes;                                          // measures: its tensors have no memory
//   cut(sizes);
//   Arena arena(device, sizes.used_bytes(), "weights");   // throws where the device has not that much
//   cut(arena);
//
// Not thread-safe.
#pragma once

#include <initializer_list>
#include <string>

#include "kernels/core/buffer.h"
#include "kernels/core/tensor.h"

namespace triforce {

class Arena {
 public:
  static constexpr int64_t kAlignmentBytes = 256;

  // A measuring arena.
  Arena() = default;
  // Throws Error (kOutOfMemory), naming `purpose`, where `device` has not `bytes` left.
  Arena(Device& device, int64_t bytes, const std::string& purpose);

  // The next tensor, aligned to kAlignmentBytes, zeroed. A measuring arena returns a view of null data.
  // REQUIRES: it fits (measure first).
  TensorView Cut(DType dtype, std::initializer_list<int64_t> shape);

  int64_t used_bytes() const { return used_bytes_; }

 private:
  Buffer buffer_;
  bool measuring_ = true;
  int64_t used_bytes_ = 0;
};

}  // namespace triforce
