// Device: memory with a limit, and the maker of lanes and events. The CPU is one (cpu_device.h), a GPU another.
//
// Everything above kernels/ is written against this interface and does not know which one it has. A Device outlives all
// Buffers, Lanes and Events made from it. All methods are thread-safe.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "kernels/core/buffer.h"
#include "kernels/core/lane.h"

namespace triforce {

class Trace;

enum class DeviceType { kCpu, kCuda };

class Device {
 public:
  virtual ~Device() = default;

  virtual DeviceType type() const = 0;
  virtual std::string name() const = 0;  // "cpu", "cuda:0"
  // Whether the host may read and write its memory; otherwise lanes copy.
  virtual bool host_reaches_memory() const = 0;

  // `bytes` of zeroed memory, aligned to 4096 bytes. `purpose` stands in the error: "the KV cache".
  // Throws Error (kOutOfMemory), with bytes needed and available, where the limit would be passed.
  virtual Buffer Allocate(int64_t bytes, const std::string& purpose) = 0;

  virtual int64_t memory_limit_bytes() const = 0;
  virtual int64_t used_bytes() const = 0;
  virtual int64_t peak_bytes() const = 0;  // the most that used_bytes ever was

  virtual std::unique_ptr<Lane> NewLane(const LaneOptions& options) = 0;
  virtual std::unique_ptr<Event> NewEvent() = 0;

 private:
  friend class Buffer;
  virtual void Free(void* data, int64_t bytes) = 0;
};

}  // namespace triforce
