// Device: memory with a limit, and the maker of lanes and events. The CPU is one (cpu_device.h), a GPU another.
//
// Everything above kernels/ is written against this interface and does not know which one it has. A Device outlives all
// Buffers, Lanes and Events made from it. All methods are thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "kernels/core/buffer.h"
#include "kernels/core/lane.h"

namespace triforce {

class Trace;

enum class DeviceType { kCpu, kCuda };

// Memory of the host that a device reaches without the host's help, as long as this lives (Device::Pin).
class HostPin {
 public:
  virtual ~HostPin() = default;
};

class Device {
 public:
  virtual ~Device() = default;

  virtual DeviceType type() const = 0;
  virtual std::string name() const = 0;  // "cpu", "cuda:0"
  // Whether the host may read and write its memory; otherwise lanes copy.
  virtual bool host_reaches_memory() const = 0;

  // `bytes` of zeroed memory, aligned to 256 bytes or more. `purpose` stands in the error: "the KV cache".
  // Throws Error (kOutOfMemory), with bytes needed and available, where the limit would be passed.
  virtual Buffer Allocate(int64_t bytes, const std::string& purpose) = 0;

  virtual int64_t memory_limit_bytes() const = 0;
  virtual int64_t used_bytes() const = 0;
  virtual int64_t peak_bytes() const = 0;  // the most that used_bytes ever was

  virtual std::unique_ptr<Lane> NewLane(const LaneOptions& options) = 0;
  virtual std::unique_ptr<Event> NewEvent() = 0;

  // Lets lanes copy from and to `memory`, which outlives the pin, at full speed and without the host waiting. Null
  // where the device has that from any memory. Throws Error (kOutOfMemory), with bytes asked for and available, where
  // the system does not allow as much. REQUIRES: nothing of it is pinned.
  virtual std::unique_ptr<HostPin> Pin(std::span<std::byte> /*memory*/) { return nullptr; }

 private:
  friend class Buffer;
  virtual void Free(void* data, int64_t bytes) = 0;
};

}  // namespace triforce
