// CudaWaitTimes: how long a stream has stood still, waiting for events.
//
// Two events with times around each wait, read when they are done. That takes the stream about a microsecond a wait,
// which is counted as waiting. Where more waits are on their way than kPairs, the further ones are not counted.
// Thread-safe.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <mutex>

#include "kernels/core/cuda_handles.h"

namespace triforce {

class CudaWaitTimes {
 public:
  // Makes `stream` wait for `event`. Returns what the runtime says.
  cudaError_t Wait(cudaStream_t stream, cudaEvent_t event);

  // Of the waits that are over.
  int64_t total_ns();

 private:
  static constexpr int64_t kPairs = 256;
  struct Pair {
    CudaEventHandle begin{"waiting times", cudaEventDefault};
    CudaEventHandle end{"waiting times", cudaEventDefault};
  };

  void Harvest();

  std::mutex mutex_;
  std::array<std::unique_ptr<Pair>, kPairs> pairs_;  // guarded by mutex_, as all: a ring, made as it is needed
  int64_t queued_ = 0;
  int64_t harvested_ = 0;
  int64_t total_ns_ = 0;
};

}  // namespace triforce
