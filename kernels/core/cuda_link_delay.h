// A copy that takes as long as a slower link would: kernels before and behind it on its stream.
//
// The link is a DMA engine behind a queue, as in CpuLane: a copy begins when the one before it has ended, and ends when
// the link would be through, or later, when the bytes are there. Times are the GPU's (%globaltimer), which on some GPUs
// goes by microseconds.
#pragma once

#include <cstdint>

namespace triforce {

// In device memory, zeroed before the first use; one for each stream.
struct LinkClock {
  uint64_t begin_ns;
  uint64_t free_ns;
};

// Both queue one thread on `stream` (a cudaStream_t) and return a cudaError_t.
int QueueLinkBegin(void* stream, LinkClock* clock);
int QueueLinkEnd(void* stream, LinkClock* clock, int64_t link_ns);

}  // namespace triforce
