// Matmul on the simulator: plain loops on the host.
#include <cstddef>
#include <vector>

#include "kernels/core/matmul.h"

namespace triforce {
namespace {

template <typename T>
void MultiplyPlainly(const MatmulArgs& args) {
  std::vector<float> row(args.inner), matrix(args.inner * args.columns);
  for (int64_t i = 0; i < args.batch; ++i) {
    const T* const b = static_cast<const T*>(args.b) + i * args.inner * args.columns;
    for (size_t j = 0; j < matrix.size(); ++j) matrix[j] = ToF32(b[j]);
    for (int64_t r = 0; r < args.rows; ++r) {
      const T* const a = static_cast<const T*>(args.a) + r * args.a_stride;
      for (int64_t k = 0; k < args.inner; ++k) row[k] = ToF32(a[k]);
      float* const out = args.out + (i * args.rows + r) * args.columns;
      for (int64_t c = 0; c < args.columns; ++c) out[c] = 0;
      for (int64_t k = 0; k < args.inner; ++k) {
        for (int64_t c = 0; c < args.columns; ++c) out[c] += row[k] * matrix[k * args.columns + c];
      }
    }
  }
}

}  // namespace

void Matmul(CudaLane& lane, const MatmulArgs& args) {
  lane.BeginSpan();
  lane.Simulate([=] { WithFloatType(args.dtype, [&]<typename T>(T) { MultiplyPlainly<T>(args); }); });
  lane.EndSpan("matmul");
}

}  // namespace triforce
