// Streams and events of the CUDA runtime that end with their owner. Neither copied nor moved.
//
// They are made on the thread's current device. Errors at the end are of no interest any more.
#pragma once

#include <cuda_runtime_api.h>

#include <string>

#include "kernels/core/cuda_error.h"

namespace triforce {

class CudaStream {
 public:
  // Does not wait for the default stream, nor that for it.
  CudaStream(const std::string& where, bool high_priority) {
    int least = 0, greatest = 0;
    CheckCuda(cudaDeviceGetStreamPriorityRange(&least, &greatest), where, "cudaDeviceGetStreamPriorityRange");
    CheckCuda(cudaStreamCreateWithPriority(&stream_, cudaStreamNonBlocking, high_priority ? greatest : least), where,
              "cudaStreamCreateWithPriority");
  }
  ~CudaStream() { (void)cudaStreamDestroy(stream_); }
  CudaStream(const CudaStream&) = delete;
  CudaStream& operator=(const CudaStream&) = delete;

  cudaStream_t get() const { return stream_; }

 private:
  cudaStream_t stream_ = nullptr;
};

class CudaEventHandle {
 public:
  CudaEventHandle(const std::string& where, unsigned flags) {
    CheckCuda(cudaEventCreateWithFlags(&event_, flags), where, "cudaEventCreateWithFlags");
  }
  ~CudaEventHandle() { (void)cudaEventDestroy(event_); }
  CudaEventHandle(const CudaEventHandle&) = delete;
  CudaEventHandle& operator=(const CudaEventHandle&) = delete;

  cudaEvent_t get() const { return event_; }
  // Also where its stream has failed, and nothing more will come.
  bool done() const {
    const bool done = cudaEventQuery(event_) != cudaErrorNotReady;
    if (!done) (void)cudaGetLastError();  // which has that as an error
    return done;
  }

 private:
  cudaEvent_t event_ = nullptr;
};

}  // namespace triforce
