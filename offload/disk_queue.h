// DiskQueue: pieces of requests in flight, by io_uring or by plain system calls. Under the DiskTier, which splits
// requests, retries and reports.
//
// Not thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

namespace triforce {

struct DiskPiece {
  bool write = false;
  int64_t offset = 0;
  int64_t bytes = 0;
  std::byte* memory = nullptr;
  int64_t ticket = 0;  // of the request that it is part of
};

struct DiskResult {
  DiskPiece piece;
  int64_t result = 0;  // bytes, or -errno
};

class DiskQueue {
 public:
  virtual ~DiskQueue() = default;
  virtual bool io_uring() const = 0;
  // Whether another piece fits.
  virtual bool full() const = 0;
  // Starts a piece. REQUIRES: not full().
  virtual void Submit(const DiskPiece& piece) = 0;
  // Waits for any piece to finish. REQUIRES: one is in flight.
  virtual DiskResult Wait() = 0;
  virtual void RegisterBuffers(std::span<std::byte> memory) = 0;
};

// Null where the system does not allow io_uring.
std::unique_ptr<DiskQueue> NewUringQueue(int descriptor);
// A piece at a time, at once.
std::unique_ptr<DiskQueue> NewPlainQueue(int descriptor);

}  // namespace triforce
