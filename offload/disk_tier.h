// DiskTier: the tier below the host: one file of our own, read and written in large pieces, many at a time.
//
// The file has no name that could be left behind: it is made without one where the file system can do that, and loses
// its name at once elsewhere; whatever ends the process ends the file. It is opened for direct I/O where the file
// system allows, and served by io_uring where the system allows, otherwise by pread and pwrite.
//
// Requests are started and finished apart, so that a reader can run ahead. All methods are thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>

#include "offload/disk_file.h"
#include "offload/disk_queue.h"

namespace triforce {

struct DiskOptions {
  std::string directory;
  int64_t capacity_bytes = 0;  // --disk-memory; 0: what the file system has free
  bool allow_io_uring = true;
  bool allow_direct = true;
  // For tests: sees each finished piece with its result, bytes or -errno, and gives the result to take instead.
  std::function<int64_t(const DiskPiece& piece, int64_t result)> fault = {};
};

struct DiskRequest {
  bool write = false;
  int64_t offset = 0;
  std::span<std::byte> memory = {};  // which is read into or written from, and has to stay until Finish
};

class DiskTier {
 public:
  static constexpr int64_t kAlignmentBytes = 4096;

  // Also removes what dead runs have left in the directory. Throws Error: kUsage without a directory, kIo where no file
  // can be made there.
  explicit DiskTier(const DiskOptions& options);
  // Waits for what is in flight.
  ~DiskTier();

  // The offset of a region of `bytes`, rounded up to kAlignmentBytes. The disk's space is taken here, so that a full
  // disk shows now and not later. Throws Error (kOutOfMemory) with bytes needed and available; what there is stays.
  int64_t Allocate(int64_t bytes, const std::string& purpose);

  // Requests whose memory lies in `memory` become cheaper, where the system allows.
  void RegisterBuffers(std::span<std::byte> memory);

  // Starts a request and returns its ticket, for one Finish. Waits while the queue is full, but not for the request.
  // REQUIRES: offset, size and memory are multiples of kAlignmentBytes, and within what was allocated.
  int64_t Start(const DiskRequest& request);
  // Waits until the request is done. Throws Error (kIo) with file, offset and reason; other requests go on.
  void Finish(int64_t ticket);

  int64_t read_bytes() const;
  int64_t written_bytes() const;
  int64_t used_bytes() const;
  int64_t capacity_bytes() const { return capacity_bytes_; }
  bool direct() const { return file_.direct(); }
  bool io_uring() const { return queue_->io_uring(); }
  const std::string& description() const { return description_; }  // "io_uring, direct"

 private:
  struct Pending {
    int64_t pieces = 0;  // not done
    std::exception_ptr error;
  };

  void Submit(DiskPiece piece);
  void Reap();
  void Take(const DiskPiece& piece, int64_t result);
  std::exception_ptr ErrorOf(const DiskPiece& piece, const std::string& what) const;

  const DiskOptions options_;
  DiskFile file_;
  std::unique_ptr<DiskQueue> queue_;
  int64_t capacity_bytes_ = 0;
  std::string description_;

  mutable std::mutex mutex_;
  std::map<int64_t, Pending> pending_;  // guarded by mutex_, as all below; by ticket
  int64_t next_ticket_ = 0;
  int64_t used_bytes_ = 0;
  int64_t read_bytes_ = 0;
  int64_t written_bytes_ = 0;
};

}  // namespace triforce
