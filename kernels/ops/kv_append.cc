#include "kernels/ops/kv_append.h"

#include "kernels/core/cpu_lane.h"
#include "kernels/core/cuda_lane.h"
#include "kernels/ops/device_scalar.h"

namespace triforce {

void KvAppendCpu(Team& team, const KvAppendArgs& args);                     // kv_append_cpu.cc
[[gnu::weak]] void KvAppendCuda(CudaLane& lane, const KvAppendArgs& args);  // kv_append_cuda.cu

namespace {

void CheckRows(const TensorView& t, const KvAppendArgs& args) {
  TF_CHECK(t.rank() == 3 && t.dtype() == DType::kF32 && t.dense_rows() && t.dim(0) == args.keys.dim(0) &&
               t.dim(1) == args.kv.kv_heads && t.dim(2) == args.kv.head_dim(),
           "{}", t.ToString());
}

void CheckPosition(const KvAppendArgs& args, int64_t position) {
  TF_CHECK(position >= args.kv.first_position() && position + args.keys.dim(0) <= args.kv.end_position(),
           "[{}, +{}) of [{}, {})", position, args.keys.dim(0), args.kv.first_position(), args.kv.end_position());
}

void Check(const KvAppendArgs& args) {
  CheckKvView(args.kv);
  CheckRows(args.keys, args);
  CheckRows(args.values, args);
  CheckDeviceScalar(args.base);
  if (!args.base) CheckPosition(args, args.position);
}

// `args` with the position that it comes to.
KvAppendArgs ByValue(const KvAppendArgs& args) {
  KvAppendArgs by_value = args;
  by_value.position += ValueOfScalar(args.base);
  by_value.base = {};
  CheckPosition(args, by_value.position);
  return by_value;
}

}  // namespace

void KvAppend(Lane& lane, const KvAppendArgs& args) {
  Check(args);
  if (CudaLane* const cuda = AsCuda(lane)) return KvAppendCuda(*cuda, args);
  AsCpu(lane).Run("kv_append", [args](Team& team) { KvAppendCpu(team, ByValue(args)); });
}

void KvAppendReference(const KvAppendArgs& given) {
  Check(given);
  const KvAppendArgs args = ByValue(given);
  WithFloatType(args.kv.dtype(), [&]<typename T>(T) {
    const int64_t head_dim = args.kv.head_dim();
    for (int64_t row = 0; row < args.keys.dim(0); ++row) {
      for (int64_t i = 0; i < args.kv.kv_heads * head_dim; ++i) {
        KeyTileAt<T>(args.kv, i / head_dim, args.position + row)[KeyElement(args.position + row, i % head_dim)] =
            FromF32<T>(args.keys.as<float>()[row * args.keys.stride(0) + i]);
        ValueAt<T>(args.kv, i / head_dim, args.position + row)[i % head_dim] =
            FromF32<T>(args.values.as<float>()[row * args.values.stride(0) + i]);
      }
    }
  });
}

}  // namespace triforce
