// Eight consecutive elements of a row in a kernel's registers, as they lie in memory. For .cu files only.
#pragma once

#include <bit>
#include <cstdint>

#include "kernels/core/gpu.h"

namespace triforce {

// T: float, F16 or BF16.
template <typename T>
struct Eight {
  gpu::Words4 words[sizeof(T) / 2];
};

// Of global memory, aligned to 16 bytes.
template <typename T>
TF_DEVICE Eight<T> LoadEight(const T* from) {
  Eight<T> v;
  TF_UNROLL
  for (int i = 0; i < static_cast<int>(sizeof(T) / 2); ++i) v.words[i] = gpu::Load16(from + i * (16 / sizeof(T)));
  return v;
}

// Of shared memory, aligned to 16 bytes.
template <typename T>
TF_DEVICE Eight<T> SharedEight(const T* from) {
  Eight<T> v;
  TF_UNROLL
  for (int i = 0; i < static_cast<int>(sizeof(T) / 2); ++i) v.words[i] = reinterpret_cast<const gpu::Words4*>(from)[i];
  return v;
}

// The first `count` of them, of any memory, zeros behind; aligned as T is.
template <typename T>
TF_DEVICE Eight<T> LoadSome(const T* from, int count) {
  Eight<T> v{};
  TF_UNROLL
  for (int i = 0; i < 8; ++i) {
    if (i >= count) continue;
    if constexpr (sizeof(T) == 4) {
      v.words[i / 4].w[i % 4] = std::bit_cast<uint32_t>(from[i]);
    } else {
      v.words[0].w[i / 2] |= static_cast<uint32_t>(from[i].bits) << (i % 2 * 16);
    }
  }
  return v;
}

template <typename T>
TF_DEVICE void Widen(const Eight<T>& v, float (&to)[8]) {
  TF_UNROLL
  for (int i = 0; i < 8; ++i) {
    if constexpr (sizeof(T) == 4) {
      to[i] = std::bit_cast<float>(v.words[i / 4].w[i % 4]);
    } else {
      const uint32_t word = v.words[0].w[i / 2];
      to[i] = i % 2 == 0 ? gpu::UnpackLow<T>(word) : gpu::UnpackHigh<T>(word);
    }
  }
}

}  // namespace triforce
