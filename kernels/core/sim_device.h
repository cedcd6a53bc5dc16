// SimDevice: a CUDA device made of the host, for tests: its kernels run in the simulator (gpu_sim.h).
//
// Its lanes do all work at once, when it is queued, on the queueing thread; so nothing overlaps, and an order that is
// missing between lanes does not show. What queued work throws waits for Synchronize as on any lane; a kernel's fault
// (gpu::SimFault) is thrown where it is launched or replayed.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "kernels/core/device.h"
#include "kernels/core/memory_count.h"

namespace triforce {

class SimDevice final : public Device {
 public:
  // Its lanes leave spans in `trace`, if that is not null.
  explicit SimDevice(int64_t memory_limit_bytes, Trace* trace = nullptr) : memory_(memory_limit_bytes), trace_(trace) {}

  DeviceType type() const override { return DeviceType::kCuda; }
  std::string name() const override { return "cuda:sim"; }
  bool host_reaches_memory() const override { return false; }
  Buffer Allocate(int64_t bytes, const std::string& purpose) override;
  int64_t memory_limit_bytes() const override { return memory_.limit_bytes(); }
  int64_t used_bytes() const override { return memory_.used_bytes(); }
  int64_t peak_bytes() const override { return memory_.peak_bytes(); }
  std::unique_ptr<Lane> NewLane(const LaneOptions& options) override;
  std::unique_ptr<Event> NewEvent() override;

 private:
  void Free(void* data, int64_t bytes) override;

  MemoryCount memory_;
  Trace* const trace_;
};

}  // namespace triforce
