// KvAppend on the CPU: conversion by vectors; keys are then spread over their tile.
#include <algorithm>

#include "kernels/core/team.h"
#include "kernels/ops/kv_append.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/ops/kv_append_cpu.cc"
#include <hwy/foreach_target.h>
// After foreach_target.h:
#include "kernels/ops/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace triforce {
namespace HWY_NAMESPACE {
namespace {

constexpr int64_t kRowsPerItem = 64;

template <typename T>
void Convert(const float* HWY_RESTRICT from, int64_t count, T* HWY_RESTRICT to) {
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) StoreFloats(LoadFloats(from + i), to + i);
  for (; i < count; ++i) to[i] = FromF32<T>(from[i]);
}

template <typename T>
void AppendRow(const KvAppendArgs& args, int64_t kv_head, int64_t row, T* scratch) {
  const int64_t head_dim = args.kv.head_dim();
  const int64_t position = args.position + row;
  Convert(args.values.as<float>() + row * args.values.stride(0) + kv_head * head_dim, head_dim,
          ValueAt<T>(args.kv, kv_head, position));
  Convert(args.keys.as<float>() + row * args.keys.stride(0) + kv_head * head_dim, head_dim, scratch);
  T* tile = KeyTileAt<T>(args.kv, kv_head, position);
  for (int64_t i = 0; i < head_dim; ++i) tile[KeyElement(position, i)] = scratch[i];
}

void KvAppendImpl(Team& team, const KvAppendArgs& args) {
  const int64_t rows = args.keys.dim(0);
  const int64_t items = (rows + kRowsPerItem - 1) / kRowsPerItem;
  team.For(items * args.kv.kv_heads, [&](Worker& worker, int64_t item) {
    WithFloatType(args.kv.dtype(), [&]<typename T>(T) {
      const int64_t first = item % items * kRowsPerItem;
      for (int64_t row = first; row < std::min(first + kRowsPerItem, rows); ++row) {
        AppendRow<T>(args, item / items, row, reinterpret_cast<T*>(worker.scratch.data()));
      }
    });
  });
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace triforce
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace triforce {

HWY_EXPORT(KvAppendImpl);

void KvAppendCpu(Team& team, const KvAppendArgs& args) { HWY_DYNAMIC_DISPATCH(KvAppendImpl)(team, args); }

}  // namespace triforce
#endif  // HWY_ONCE
