// Embed on the CPU: a row per item, widened by vectors.
#include "kernels/core/team.h"
#include "kernels/ops/embed.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/ops/embed_cpu.cc"
#include <hwy/foreach_target.h>
// After foreach_target.h:
#include "kernels/ops/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace triforce {
namespace HWY_NAMESPACE {
namespace {

template <typename T>
void EmbedRow(const EmbedArgs& args, int64_t row) {
  const int64_t hidden = args.table.dim(1);
  const int64_t id = args.ids.as<int32_t>()[row];
  TF_CHECK(id >= 0 && id < args.table.dim(0), "id {} of {}", id, args.table.dim(0));
  const T* from = args.table.as<T>() + id * hidden;
  float* to = args.out.as<float>() + row * args.out.stride(0);
  int64_t i = 0;
  for (; i + kLanes <= hidden; i += kLanes) StoreFloats(LoadFloats(from + i), to + i);
  for (; i < hidden; ++i) to[i] = ToF32(from[i]);
}

void EmbedImpl(Team& team, const EmbedArgs& args) {
  WithFloatType(args.table.dtype(), [&]<typename T>(T) {
    team.For(args.ids.dim(0), [&](Worker&, int64_t row) { EmbedRow<T>(args, row); });
  });
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace triforce
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace triforce {

HWY_EXPORT(EmbedImpl);

void EmbedCpu(Team& team, const EmbedArgs& args) { HWY_DYNAMIC_DISPATCH(EmbedImpl)(team, args); }

}  // namespace triforce
#endif  // HWY_ONCE
