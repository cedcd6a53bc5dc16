// Buffer: owns one allocation of a device's memory; gives it back when it goes. Moved, not copied.
//
// The owner sees to it that no queued work still uses the memory (Lane::Synchronize, or an Event).
#pragma once

#include <cstddef>
#include <cstdint>

namespace triforce {

class Device;

class Buffer {
 public:
  Buffer() = default;
  // Takes over `data`, which `device` will free. Only devices call this.
  Buffer(Device* device, void* data, int64_t bytes) : device_(device), data_(data), bytes_(bytes) {}
  Buffer(Buffer&& other) noexcept { *this = static_cast<Buffer&&>(other); }
  Buffer& operator=(Buffer&& other) noexcept;
  ~Buffer() { Reset(); }

  Device* device() const { return device_; }
  std::byte* data() const { return static_cast<std::byte*>(data_); }
  int64_t bytes() const { return bytes_; }

  // Gives the memory back now.
  void Reset();

 private:
  Device* device_ = nullptr;
  void* data_ = nullptr;
  int64_t bytes_ = 0;
};

}  // namespace triforce
