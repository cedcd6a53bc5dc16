#include "kernels/core/cuda_wait_times.h"

namespace triforce {

cudaError_t CudaWaitTimes::Wait(cudaStream_t stream, cudaEvent_t event) {
  const std::lock_guard lock(mutex_);
  Harvest();
  if (queued_ - harvested_ == kPairs) return cudaStreamWaitEvent(stream, event, cudaEventWaitDefault);
  std::unique_ptr<Pair>& pair = pairs_[queued_ % kPairs];
  if (pair == nullptr) {
    try {
      pair = std::make_unique<Pair>();
    } catch (...) {  // no event is to be had for counting
      return cudaStreamWaitEvent(stream, event, cudaEventWaitDefault);
    }
  }
  cudaError_t code = cudaEventRecord(pair->begin.get(), stream);
  if (code == cudaSuccess) code = cudaStreamWaitEvent(stream, event, cudaEventWaitDefault);
  if (code == cudaSuccess) code = cudaEventRecord(pair->end.get(), stream);
  if (code == cudaSuccess) ++queued_;
  return code;
}

int64_t CudaWaitTimes::total_ns() {
  const std::lock_guard lock(mutex_);
  Harvest();
  return total_ns_;
}

void CudaWaitTimes::Harvest() {
  for (; harvested_ < queued_; ++harvested_) {
    const Pair& pair = *pairs_[harvested_ % kPairs];
    if (!pair.end.done()) return;
    float milliseconds = 0;
    if (cudaEventElapsedTime(&milliseconds, pair.begin.get(), pair.end.get()) != cudaSuccess) {
      (void)cudaGetLastError();  // of a stream that has failed
      continue;
    }
    total_ns_ += static_cast<int64_t>(static_cast<double>(milliseconds) * 1e6);
  }
}

}  // namespace triforce
