#include "kernels/ops/peak.h"

#include "kernels/core/cpu_lane.h"
#include "kernels/core/cuda_lane.h"

namespace triforce {

void PeakReadCpu(Team& team, const TensorView& data, const TensorView& sink);                     // peak_cpu.cc
void PeakFmaCpu(Team& team, int64_t items, const TensorView& sink);                               // peak_cpu.cc
int64_t PeakFmasPerItem();                                                                        // peak_cpu.cc
[[gnu::weak]] void PeakReadCuda(CudaLane& lane, const TensorView& data, const TensorView& sink);  // peak_cuda.cu
[[gnu::weak]] int64_t PeakFmaCuda(CudaLane& lane, int64_t fmas, const TensorView& sink);          // peak_cuda.cu

void PeakRead(Lane& lane, const TensorView& data, const TensorView& sink) {
  TF_CHECK(data.dtype() == DType::kF32 && data.dense() && data.elements() % 4096 == 0 && sink.elements() > 0);
  if (CudaLane* const cuda = AsCuda(lane)) return PeakReadCuda(*cuda, data, sink);
  AsCpu(lane).Run("peak_read", [data, sink](Team& team) { PeakReadCpu(team, data, sink); });
}

int64_t PeakFma(Lane& lane, int64_t fmas, const TensorView& sink) {
  TF_CHECK(sink.elements() > 0);
  if (CudaLane* const cuda = AsCuda(lane)) return PeakFmaCuda(*cuda, fmas, sink);
  const int64_t items = (fmas + PeakFmasPerItem() - 1) / PeakFmasPerItem();
  AsCpu(lane).Run("peak_fma", [items, sink](Team& team) { PeakFmaCpu(team, items, sink); });
  return items * PeakFmasPerItem();
}

}  // namespace triforce
