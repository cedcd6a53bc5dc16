// CpuDevice: the CPU as a device: its memory counted against a limit, its lanes worker threads (cpu_lane.h).
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "kernels/core/device.h"
#include "kernels/core/memory_count.h"

namespace triforce {

class CpuDevice final : public Device {
 public:
  // `trace` may be null; it must outlive the device's lanes.
  explicit CpuDevice(int64_t memory_limit_bytes, Trace* trace = nullptr);

  DeviceType type() const override { return DeviceType::kCpu; }
  std::string name() const override { return "cpu"; }
  bool host_reaches_memory() const override { return true; }
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
