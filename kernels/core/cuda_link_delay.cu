#include <cuda_runtime_api.h>

#include "kernels/core/cuda_link_delay.h"

namespace triforce {
namespace {

constexpr unsigned kMostSleepNs = 1000;

__device__ uint64_t Now() {
  uint64_t now;
  asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(now)::"memory");
  return now;
}

__global__ void LinkBegin(LinkClock* clock) {
  const uint64_t now = Now();
  clock->begin_ns = now > clock->free_ns ? now : clock->free_ns;
}

__global__ void LinkEnd(LinkClock* clock, uint64_t link_ns) {
  const uint64_t end = clock->begin_ns + link_ns;
  uint64_t now = Now();
  clock->free_ns = now > end ? now : end;
  for (; now < end; now = Now()) __nanosleep(end - now < kMostSleepNs ? end - now : kMostSleepNs);
}

}  // namespace

int QueueLinkBegin(void* stream, LinkClock* clock) {
  LinkBegin<<<1, 1, 0, static_cast<cudaStream_t>(stream)>>>(clock);
  return cudaGetLastError();
}

int QueueLinkEnd(void* stream, LinkClock* clock, int64_t link_ns) {
  LinkEnd<<<1, 1, 0, static_cast<cudaStream_t>(stream)>>>(clock, static_cast<uint64_t>(link_ns));
  return cudaGetLastError();
}

}  // namespace triforce
